"""The replay buffer."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.generators.replay import MAX_BYTES, ReplayBuffer

CPU = torch.device("cpu")


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None]


def stored(buffer: ReplayBuffer) -> set[float]:
    """The stored samples, from a thousand draws; samples of the batch itself are -1."""
    both = buffer.mixed(torch.full((2000, 1), -1.0), torch.Generator().manual_seed(0))
    assert both.dtype == torch.float32
    assert int((both == -1).sum()) == 1000
    return set(both.flatten().tolist()) - {-1.0}


def test_half_of_a_batch_is_replayed_and_the_oldest_samples_are_dropped() -> None:
    buffer = ReplayBuffer(10, (1,), CPU)
    buffer.add(numbered(0, 4))
    assert stored(buffer) == {0, 1, 2, 3}
    buffer.add(numbered(4, 4))
    buffer.add(numbered(8, 4))
    assert stored(buffer) == set(range(2, 12))
    buffer.add(numbered(12, 25))
    assert stored(buffer) == set(range(27, 37))


@pytest.mark.parametrize("capacity", [0, 5])
def test_an_empty_buffer_returns_the_batch(capacity: int) -> None:
    x = numbered(0, 6)
    buffer = ReplayBuffer(capacity, (1,), CPU)
    assert buffer.mixed(x, torch.Generator()) is x
    if not capacity:
        buffer.add(x)
        assert buffer.mixed(x, torch.Generator()) is x


def test_a_batch_of_one_is_not_replayed() -> None:
    buffer = ReplayBuffer(5, (1,), CPU)
    buffer.add(numbered(0, 3))
    assert buffer.mixed(torch.full((1, 1), -1.0), torch.Generator()).tolist() == [[-1.0]]


def test_the_state_restores_the_buffer() -> None:
    buffer, other = ReplayBuffer(10, (1,), CPU), ReplayBuffer(10, (1,), CPU)
    buffer.add(numbered(0, 13))
    other.load_state_dict(buffer.state_dict())
    for each in (buffer, other):
        each.add(numbered(13, 2))
    x = torch.full((8, 1), -1.0)
    assert torch.equal(
        buffer.mixed(x, torch.Generator().manual_seed(1)), other.mixed(x, torch.Generator().manual_seed(1))
    )


def test_capacity_is_limited_by_memory() -> None:
    assert ReplayBuffer(50_000, (3, 224, 224), CPU).capacity == MAX_BYTES // (2 * 3 * 224 * 224)
