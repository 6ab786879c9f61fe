"""The memory and the disk space that a run takes, from the sizes of what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from zskd_onnx.data.transfer_set import fits_in_memory
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.train_student import PRUNING_SAMPLES
from zskd_onnx.report.page import size
from zskd_onnx.synthesis.base import activation_bytes
from zskd_onnx.synthesis.fill import synthesis_threads
from zskd_onnx.system.available_memory import available_memory
from zskd_onnx.system.free_space import free_disk, resident_memory

PROGRAM = 500_000_000
"""Bytes of Python, torch and onnxruntime, where the system does not tell what they take."""

LATER = 50_000_000
"""Bytes of what is loaded later: the exporter, quantisers, plots and pages."""

REPORT_BYTES = 2_000_000
"""Report, pictures, logs and settings of a run."""

BATCHES_AHEAD = 4
"""Batches of training that exist together, with those that threads prepare."""

OPTIMISER_COPIES = 4
"""Copies of the weights in a checkpoint: the student, its best state, and two moments."""


@dataclass(frozen=True)
class Footprint:
    """What a run takes.

    Attributes:
        memory: expected peak of the resident memory, bytes, with what the process holds already.
        more_memory: the part of it that the process does not hold yet.
        disk: bytes of the output folder when it is largest.
    """

    memory: int
    more_memory: int
    disk: int

    def shortages(self, folder: Path | None) -> tuple[str, ...]:
        """A sentence for each of memory and disk, if less is free than the run takes.

        Args:
            folder: of the output, which may not exist yet; None leaves the disk out.
        """
        texts = []
        memory, disk = available_memory(), None if folder is None else free_disk(folder)
        if memory is not None and memory < self.more_memory:
            texts.append(
                f"this run takes about {size(self.more_memory)} of memory, and {size(memory)} are free: the system may "
                "end it; close other programs, or give a smaller --set synthesis.batch_size or synthesis.count"
            )
        if disk is not None and disk < self.disk:
            texts.append(
                f"this run writes about {size(self.disk)} to {folder}, and {size(disk)} are free there; choose another "
                "--output, or a smaller --set synthesis.count"
            )
        return tuple(texts)


def footprint(plan: Plan, *, has_transfer_set: bool = False) -> Footprint:
    """The memory and disk space of a run.

    Args:
        has_transfer_set: whether the samples are those of an earlier run, so that none are written.
    """
    recipe, teacher = plan.recipe, plan.teacher
    sample = math.prod(teacher.domain.shape)
    stored = stored_bytes = 0
    synthesis = recipe.synthesis
    if synthesis is not None:
        chunk = synthesis.chunk_size(teacher)
        stored = -(-(synthesis.count + recipe.held_out) // chunk) * chunk
        stored_bytes = stored * (2 * sample + 4 * teacher.classes)
    held_out = 2 * sample * recipe.held_out
    weights = 4 * plan.parameters
    checkpoint = OPTIMISER_COPIES * weights + held_out
    peaks = [_training_bytes(plan)]
    if synthesis is not None and not has_transfer_set and plan.device.type == "cpu":
        batch = synthesis.effective_batch_size
        peaks.append(synthesis_threads(teacher, batch, plan.device) * batch * activation_bytes(teacher))
    if plan.pruned:
        judged = min(PRUNING_SAMPLES, stored or PRUNING_SAMPLES)
        peaks.append(judged * sample * (2 + 2 + 4))
    in_memory = stored_bytes if fits_in_memory(stored_bytes) else 0
    more = LATER + in_memory + 3 * held_out + max(peaks) + 2 * checkpoint
    written = 0 if has_transfer_set else stored_bytes
    held = resident_memory() or PROGRAM
    return Footprint(held + more, more, written + 2 * checkpoint + 2 * weights + REPORT_BYTES)


def with_shortages(plan: Plan, *, output: Path | None, has_transfer_set: bool) -> Plan:
    """The plan, with a note for each of memory and disk space of which less is free than the run takes."""
    return replace(plan, notes=(*plan.notes, *footprint(plan, has_transfer_set=has_transfer_set).shortages(output)))


def _training_bytes(plan: Plan) -> int:
    """Activations and batches of a training step on the CPU: the teacher's that are compared, and the student's."""
    if plan.device.type != "cpu":
        return 0
    teacher = plan.teacher
    activations = teacher.cost.activations * min(
        1.0, math.sqrt(plan.multiply_adds / max(1, teacher.cost.multiply_adds))
    )
    sample = 4 * math.prod(teacher.domain.shape)
    batch = max(stage.batch_size for stage in plan.recipe.stages.values())
    return int(batch * (8 * activations + BATCHES_AHEAD * sample))
