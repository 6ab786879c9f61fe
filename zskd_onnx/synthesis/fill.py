"""Synthesis of a transfer set: targets from a prior, samples for them, shard after shard."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, Listener
from zskd_onnx.priors.base import Prior
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.synthesis.base import Logits, OnStep, Synthesis, activation_bytes
from zskd_onnx.synthesis.parts import Batch, Parts
from zskd_onnx.system.devices import memory
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.threads import Steps, map_in_order
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

SHARD_BYTES = 32 << 20
SHARD_BATCHES = 20
FEWEST_PARTS = 8
"""Number of parts that a set has at least, if it has as many batches, so that several processes can share the work."""

MOST_PARTS = 4000
"""Number of parts that a set has at most, because the index is written again for each."""

WAITING_SECONDS = 0.5
"""Time between two looks at what other processes have made."""


def fill(
    transfer_set: TransferSet,
    teacher: Teacher,
    prior: Prior | None,
    synthesis: Synthesis,
    count: int,
    seed: int,
    device: torch.device,
    listener: Listener,
    *,
    images: DrawnImages | None = None,
    student: Logits | None = None,
) -> None:
    """Synthesise samples until the transfer set holds at least ``count``; the last batch is completed.

    Damaged shards are made again first.

    Every batch has its own random generators, seeded by the index of its first sample, and shards hold
    whole batches. So a set that was interrupted or enlarged equals a set made in one run. An
    interruption loses the few batches that threads are working on, and they end at their next pass.

    Other processes may fill the same set, see ``Parts``. Each takes parts that no other one is making, and ends when the
    set is complete. If a process is killed, the others make its part.

    Args:
        prior: draws the soft targets; None stores the teacher's own answers as targets.
        images: draws the images that samples are made from, where ``synthesis.starts_from_images``; None has none.
        student: the student trained on the previous rounds, in inference mode; see ``Synthesis.make``.
    """

    draw = None if prior is None else prior.sampler(teacher)
    view, chunk = TeacherView(teacher), synthesis.chunk_size(teacher)

    def make(on_step: OnStep, first: int) -> Batch:
        rng = rng_for(seed, "synthesis", first, device=device)
        targets = torch.zeros((chunk, teacher.classes))
        if draw is not None:
            targets = draw(first, chunk, rng_for(seed, "prior", first))
        targets = targets.to(device)
        x = synthesis.make(teacher, targets, rng, student, on_step, synthesis.starts(teacher, images, targets, rng))
        return x.cpu(), (_answers(view, x) if draw is None else targets).cpu()

    workers = synthesis_threads(teacher, synthesis.effective_batch_size, device)
    for start, shard in transfer_set.damaged(count):
        listener(
            Event("note", "synthesis", f"{transfer_set.folder / shard.file}: damaged or missing; it is made again")
        )
        repair = Steps(report=lambda: None)
        lost = range(start, shard.end, chunk)
        again = map_in_order(partial(make, repair), lost, workers, steps=repair)
        inputs, targets = zip(*again, strict=True)
        transfer_set.replace(shard, torch.cat(inputs), torch.cat(targets))

    begun = _written(transfer_set, count)
    mine = 0

    def report(next_one: int = 0) -> None:
        """Tell of the finished batches, and of a share of the next one."""
        done = max(begun + mine, _written(transfer_set, count))
        listener(Event("progress", "synthesis", completed=min(done + next_one, count), total=count))

    def report_passes() -> None:
        """Tell of the share of its passes that the next batch has made, too."""
        passed = steps.count * synthesis.effective_batch_size // max(1, synthesis.passes) - mine
        report(min(max(0, passed // max(1, workers)), chunk - 1))

    steps = Steps(report_passes)
    report()
    parts = Parts(transfer_set, count, chunk, _part_size(teacher, synthesis, count, chunk))
    with closing(parts):
        while transfer_set.missing(0, count):
            with closing(map_in_order(partial(_with_index, partial(make, steps)), parts, workers, steps=steps)) as made:
                for first, batch in made:
                    parts.put(first, batch)
                    mine += len(batch[0])
                    report()
            if transfer_set.missing(0, count):  # another process makes what is missing
                time.sleep(WAITING_SECONDS)
                transfer_set.refresh()
                report()
    listener(Event("done", "synthesis", f"{count:,} samples", count, count))


def _with_index(make: Callable[[int], Batch], first: int) -> tuple[int, Batch]:
    return first, make(first)


def _written(transfer_set: TransferSet, count: int) -> int:
    """Number of the first ``count`` samples that are written."""
    return count - sum(map(len, transfer_set.missing(0, count)))


def _part_size(teacher: Teacher, synthesis: Synthesis, count: int, chunk: int) -> int:
    """Number of samples of a part, which one process makes and which becomes a shard."""
    sample_bytes = 2 * torch.Size(teacher.domain.shape).numel()
    most = min(SHARD_BATCHES * synthesis.effective_batch_size, SHARD_BYTES // sample_bytes, count // FEWEST_PARTS)
    return max(1, max(most, count // MOST_PARTS) // chunk) * chunk


@torch.no_grad()
def _answers(view: TeacherView, x: Tensor) -> Tensor:
    """The teacher's class probabilities (N, K), as targets of samples that were made without any."""
    return view.logits(x).softmax(1)


def synthesis_threads(teacher: Teacher, batch_size: int, device: torch.device) -> int:
    """Number of threads that make batches: as many as torch has, fewer if memory is short, 0 on a GPU."""
    if device.type != "cpu":
        return 0
    return max(1, min(torch.get_num_threads(), memory(device) // (activation_bytes(teacher) * batch_size)))
