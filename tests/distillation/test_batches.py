"""The order of stored samples in training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.distillation.batches import Sources, StoredSamples
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

COUNT = 20


def numbers(sources: Sources, steps: range, digits: Teacher) -> Tensor:
    """The samples of the steps, by their numbers, (steps, size)."""
    student = nn.Linear(1, 1)
    batches = sources.batches(steps, 100, TeacherView(digits), Augmentation(fraction=0), 7, student)
    return torch.stack([(batch.x[:, 0, 0, 0] * 64).long() for batch in batches])


@pytest.mark.parametrize("size", [1, 6, 20, 33, 60])
def test_one_shuffle_after_another(digits: Teacher, size: int) -> None:
    """The order is that of all shuffles end to end, also for a run that begins in the middle, which repeats old runs."""
    x = (torch.arange(COUNT).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 64).half()
    sources = Sources((StoredSamples("transfer_set", x, None, size),))
    rng = rng_for(7, "order")
    whole = torch.cat([torch.randperm(COUNT, generator=rng) for _ in range(-(-12 * size // COUNT))])
    expected = whole[: 12 * size].view(12, size)
    assert torch.equal(numbers(sources, range(12), digits), expected)
    for first in (1, 5, 10, 11):
        assert torch.equal(numbers(sources, range(first, 12), digits), expected[first:])


def test_each_kind_has_its_own_order(digits: Teacher) -> None:
    x = (torch.arange(COUNT).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 64).half()
    parts = (StoredSamples("transfer_set", x, None, 5), StoredSamples("data", x, torch.arange(COUNT) % 10, 3))
    orders = []
    for part, purpose in zip(parts, ((), ("data",)), strict=True):
        order = torch.randperm(COUNT, generator=rng_for(7, "order", *purpose))
        orders.append(order[: 4 * part.size].view(4, part.size))
    assert torch.equal(numbers(Sources(parts), range(4), digits), torch.cat(orders, 1))
