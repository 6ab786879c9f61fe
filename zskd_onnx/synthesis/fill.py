"""Filling a transfer set: prior, targets, inputs, shard after shard."""

from __future__ import annotations

import torch

from zskd_onnx.events import Event, Listener
from zskd_onnx.priors import Prior
from zskd_onnx.randomness import generator_for
from zskd_onnx.synthesis.synthesis import Synthesis
from zskd_onnx.synthesis.transfer_set import TransferSet
from zskd_onnx.teacher import Teacher

SHARD_BYTES = 32 << 20
SHARD_BATCHES = 20
"""An interruption loses the batches that are in no shard yet."""


def fill(
    transfer_set: TransferSet,
    teacher: Teacher,
    prior: Prior,
    synthesis: Synthesis,
    count: int,
    seed: int,
    device: torch.device,
    listener: Listener,
) -> None:
    """Synthesise until the transfer set holds ``count`` samples, the last batch whole.

    Every batch has its own generators, named after its first sample, and shards hold whole
    batches: a set that was interrupted, or made larger, is the set that one run makes.
    """
    sample_bytes = 2 * max(1, int(torch.Size(teacher.domain.shape).numel()))
    batches_in_shard = max(1, min(SHARD_BATCHES, SHARD_BYTES // (sample_bytes * synthesis.batch_size)))
    inputs, targets = [], []
    first = transfer_set.count
    while first < count:
        size = synthesis.batch_size
        drawn = prior.draw(teacher, first, size, generator_for(seed, "prior", first)).to(device)
        noise = generator_for(seed, "synthesis", first, device=device)
        inputs.append(synthesis.make(teacher, drawn, noise).cpu())
        targets.append(drawn.cpu())
        first += size
        if len(inputs) == batches_in_shard or first >= count:
            transfer_set.append(torch.cat(inputs), torch.cat(targets))
            inputs, targets = [], []
        listener(Event("progress", "synthesis", completed=min(first, count), total=count))
    listener(Event("done", "synthesis", f"{count:,} samples", count, count))
