"""What is kept of a generator's earlier samples."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.generators.replay import MEMORY_BYTES, Memory

CPU = torch.device("cpu")


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None]


def drawn(memory: Memory) -> set[float]:
    """Everything that a thousand draws find; the batch itself is marked by -1."""
    both = memory.mixed(torch.full((2000, 1), -1.0), torch.Generator().manual_seed(0))
    assert both.dtype == torch.float32
    assert int((both == -1).sum()) == 1000
    return set(both.flatten().tolist()) - {-1.0}


def test_half_of_a_batch_is_remembered_and_the_oldest_leave() -> None:
    memory = Memory(10, (1,), CPU)
    memory.add(numbered(0, 4))
    assert drawn(memory) == {0, 1, 2, 3}
    memory.add(numbered(4, 4))
    memory.add(numbered(8, 4))
    assert drawn(memory) == set(range(2, 12))
    memory.add(numbered(12, 25))
    assert drawn(memory) == set(range(27, 37))


@pytest.mark.parametrize("capacity", [0, 5])
def test_what_holds_nothing_changes_nothing(capacity: int) -> None:
    x = numbered(0, 6)
    memory = Memory(capacity, (1,), CPU)
    assert memory.mixed(x, torch.Generator()) is x
    if not capacity:
        memory.add(x)
        assert memory.mixed(x, torch.Generator()) is x


def test_a_batch_of_one_is_not_replaced() -> None:
    memory = Memory(5, (1,), CPU)
    memory.add(numbered(0, 3))
    assert memory.mixed(torch.full((1, 1), -1.0), torch.Generator()).tolist() == [[-1.0]]


def test_a_run_goes_on_with_what_was_kept() -> None:
    memory, other = Memory(10, (1,), CPU), Memory(10, (1,), CPU)
    memory.add(numbered(0, 13))
    other.load_state_dict(memory.state_dict())
    for held in (memory, other):
        held.add(numbered(13, 2))
    x = torch.full((8, 1), -1.0)
    assert torch.equal(
        memory.mixed(x, torch.Generator().manual_seed(1)), other.mixed(x, torch.Generator().manual_seed(1))
    )


def test_no_more_than_fits() -> None:
    assert Memory(50_000, (3, 224, 224), CPU).capacity == MEMORY_BYTES // (2 * 3 * 224 * 224)
