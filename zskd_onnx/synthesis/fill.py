"""Filling a transfer set: prior, targets, inputs, shard after shard."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.events import Event, Listener
from zskd_onnx.priors.base import Prior
from zskd_onnx.synthesis.base import Student, Synthesis, activation_bytes
from zskd_onnx.system.devices import memory
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.system.threads import in_order
from zskd_onnx.teacher.teacher import Teacher

SHARD_BYTES = 32 << 20
SHARD_BATCHES = 20
SHARD_SECONDS = 60.0
"""A shard is written after so long at the latest: what ends a run without a word loses what is in none yet."""


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
    student: Student | None = None,
) -> None:
    """Synthesise until the transfer set holds ``count`` samples, the last batch whole.

    ``student`` is what learned from the rounds before, in inference mode.

    Without a prior, the teacher's own answers are kept as targets.
    Every batch has its own generators, named after its first sample, and shards hold whole
    batches: a set that was interrupted, or made larger, is the set that one run makes. An interruption loses what threads
    are making, a few batches.
    """

    draw = None if prior is None else prior.sampler(teacher)

    def make(first: int) -> tuple[Tensor, Tensor]:
        noise = generator_for(seed, "synthesis", first, device=device)
        if draw is None:
            x = synthesis.make(teacher, torch.zeros((synthesis.chunk, teacher.classes), device=device), noise, student)
            return x.cpu(), _answer(teacher, x).cpu()
        targets = draw(first, synthesis.chunk, generator_for(seed, "prior", first)).to(device)
        return synthesis.make(teacher, targets, noise, student).cpu(), targets.cpu()

    sample_bytes = 2 * torch.Size(teacher.domain.shape).numel()
    samples_in_shard = min(SHARD_BATCHES * synthesis.effective_batch_size, SHARD_BYTES // sample_bytes)
    batches_in_shard = max(1, samples_in_shard // synthesis.chunk)
    batches = range(transfer_set.count, count, synthesis.chunk)
    pending: list[tuple[Tensor, Tensor]] = []

    def write() -> None:
        inputs, targets = zip(*pending, strict=True)
        pending.clear()
        transfer_set.append(torch.cat(inputs), torch.cat(targets))

    workers, written = _workers(teacher, synthesis.effective_batch_size, device), time.monotonic()
    try:
        for first, made in zip(batches, in_order(make, batches, workers), strict=True):
            pending.append(made)
            if len(pending) == batches_in_shard or time.monotonic() - written >= SHARD_SECONDS:
                write()
                written = time.monotonic()
            done = min(first + synthesis.chunk, count)
            listener(Event("progress", "synthesis", completed=done, total=count))
    finally:
        if pending:
            write()
    listener(Event("done", "synthesis", f"{count:,} samples", count, count))


@torch.no_grad()
def _answer(teacher: Teacher, x: Tensor) -> Tensor:
    """What the teacher says of samples that were made for no target."""
    return teacher.logits(teacher.domain.to_file(x)).float().softmax(1)


def _workers(teacher: Teacher, batch_size: int, device: torch.device) -> int:
    """Threads that make batches: as many as torch has, fewer where memory would not do."""
    if device.type != "cpu":
        return 0
    return max(1, min(torch.get_num_threads(), memory(device) // (activation_bytes(teacher) * batch_size)))
