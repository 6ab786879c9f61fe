"""Synthesis of a transfer set: targets from a prior, samples for them, shard after shard."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, Listener
from zskd_onnx.priors.base import Prior
from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.synthesis.base import Logits, OnStep, Synthesis, activation_bytes
from zskd_onnx.system.devices import memory
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.threads import Steps, map_in_order
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

SHARD_BYTES = 32 << 20
SHARD_BATCHES = 20
SHARD_SECONDS = 60.0
"""Longest time between two shards: a process that is killed loses the samples that no shard holds yet."""


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

    Args:
        prior: draws the soft targets; None stores the teacher's own answers as targets.
        images: draws the images that samples are made from, where ``synthesis.starts_from_images``; None has none.
        student: the student trained on the previous rounds, in inference mode; see ``Synthesis.make``.
    """

    draw = None if prior is None else prior.sampler(teacher)
    view, chunk = TeacherView(teacher), synthesis.chunk_size(teacher)

    def make(on_step: OnStep, first: int) -> tuple[Tensor, Tensor]:
        rng = rng_for(seed, "synthesis", first, device=device)
        start = None
        if images is not None and synthesis.starts_from_images:
            start = images.draw(chunk, rng)
        if draw is None:
            unused = torch.zeros((chunk, teacher.classes), device=device)
            x = synthesis.make(teacher, unused, rng, student, on_step, start)
            return x.cpu(), _answers(view, x).cpu()
        targets = draw(first, chunk, rng_for(seed, "prior", first)).to(device)
        return synthesis.make(teacher, targets, rng, student, on_step, start).cpu(), targets.cpu()

    sample_bytes = 2 * torch.Size(teacher.domain.shape).numel()
    samples_in_shard = min(SHARD_BATCHES * synthesis.effective_batch_size, SHARD_BYTES // sample_bytes)
    batches_in_shard = max(1, samples_in_shard // chunk)
    batches = range(transfer_set.count, count, chunk)
    pending: list[tuple[Tensor, Tensor]] = []

    def write() -> None:
        inputs, targets = zip(*pending, strict=True)
        pending.clear()
        transfer_set.append(torch.cat(inputs), torch.cat(targets))

    workers = _workers(teacher, synthesis.effective_batch_size, device)
    for start, shard in transfer_set.damaged(count):
        listener(
            Event("note", "synthesis", f"{transfer_set.folder / shard.file}: damaged or missing; it is made again")
        )
        repair = Steps(report=lambda: None)
        lost = range(start, start + shard.count, chunk)
        parts = map_in_order(partial(make, repair), lost, workers, steps=repair)
        inputs, targets = zip(*parts, strict=True)
        transfer_set.replace(shard, torch.cat(inputs), torch.cat(targets))

    begun = done = min(transfer_set.count, count)

    def report() -> None:
        """Tell of the finished batches, and of the share of the passes that the next one has made."""
        passed = steps.count * synthesis.effective_batch_size // max(1, synthesis.passes) - (done - begun)
        share = min(max(0, passed // max(1, workers)), chunk - 1)
        listener(Event("progress", "synthesis", completed=min(done + share, count), total=count))

    steps = Steps(report)
    report()
    written = time.monotonic()
    try:
        with closing(map_in_order(partial(make, steps), batches, workers, steps=steps)) as made:
            for first, batch in zip(batches, made, strict=True):
                pending.append(batch)
                if len(pending) == batches_in_shard or time.monotonic() - written >= SHARD_SECONDS:
                    write()
                    written = time.monotonic()
                done = min(first + chunk, count)
                listener(Event("progress", "synthesis", completed=done, total=count))
    finally:
        if pending:
            write()
    listener(Event("done", "synthesis", f"{count:,} samples", count, count))


@torch.no_grad()
def _answers(view: TeacherView, x: Tensor) -> Tensor:
    """The teacher's class probabilities (N, K), as targets of samples that were made without any."""
    return view.logits(x).softmax(1)


def _workers(teacher: Teacher, batch_size: int, device: torch.device) -> int:
    """Number of threads that make batches: as many as torch has, fewer if memory is short, 0 on a GPU."""
    if device.type != "cpu":
        return 0
    return max(1, min(torch.get_num_threads(), memory(device) // (activation_bytes(teacher) * batch_size)))
