"""Samples that stay on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.importer.bounded import in_process
from zskd_onnx import UsageError
from zskd_onnx.data import transfer_set as module
from zskd_onnx.data.stored_rows import StoredRows
from zskd_onnx.data.transfer_set import Samples, TransferSet
from zskd_onnx.system.rows import in_memory

COUNTS = (7, 5, 1, 6)
"""Samples of each shard."""

SHAPES = [(3, 4, 4), (1, 4, 4), (6,), (2, 5), (2, 3, 4, 5)]


def written(folder: Path, shape: tuple[int, ...] = (3, 4, 4)) -> Path:
    """A set of several shards."""
    g = torch.Generator().manual_seed(0)
    transfer_set = TransferSet.create(folder, {})
    for count in COUNTS:
        transfer_set.add(
            transfer_set.count, torch.rand((count, *shape), generator=g), torch.rand((count, 3), generator=g)
        )
    return folder


def both(folder: Path) -> tuple[Samples, Samples]:
    """The samples in memory, and on disk."""
    transfer_set = TransferSet.open(folder)
    return transfer_set.load(limit=1 << 40), transfer_set.load(limit=0)


def assert_same(stored: Tensor, expected: Tensor) -> None:
    assert torch.equal(stored, expected)
    assert stored.dtype == expected.dtype
    assert stored.stride() == expected.stride()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("open_shards", [64, 2])
def test_indices_give_what_a_tensor_gives(
    tmp_path: Path, shape: tuple[int, ...], open_shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_SHARDS", open_shards)
    memory, disk = both(written(tmp_path, shape))
    g = torch.Generator().manual_seed(1)
    for tensor, rows in ((memory.inputs, disk.inputs), (memory.targets, disk.targets)):
        assert isinstance(tensor, Tensor)
        assert isinstance(rows, StoredRows)
        assert (len(rows), rows.shape, rows.dtype, rows.nbytes) == (19, tensor.shape, tensor.dtype, tensor.nbytes)
        assert_same(in_memory(rows), tensor)
        for indices in (
            torch.randperm(19, generator=g),
            torch.tensor([3, 3, 18, 0, -1, 12]),
            torch.tensor([12]),
            torch.arange(5, 14),
        ):
            assert_same(rows[indices], tensor[indices])
        assert len(rows[torch.arange(0)]) == 0


@pytest.mark.parametrize("view", [slice(0, 5), slice(6, None), slice(None, None, 4), slice(3, 15, 2), slice(9, 9)])
def test_slices_are_views(tmp_path: Path, view: slice) -> None:
    memory, disk = both(written(tmp_path))
    assert_same(
        in_memory(disk.inputs[view]), in_memory(memory.inputs[view]).contiguous(memory_format=torch.channels_last)
    )
    part, expected = disk.inputs[view][1:], memory.inputs[view][1:]
    assert (part.shape, part.nbytes) == (expected.shape, expected.nbytes)
    indices = torch.arange(len(expected)).flip(0)
    assert torch.equal(part[indices], expected[indices])


@pytest.mark.parametrize("indices", [[19], [-20], [0, 100]])
def test_indices_outside(tmp_path: Path, indices: list[int]) -> None:
    _, disk = both(written(tmp_path))
    with pytest.raises(IndexError):
        disk.inputs[torch.tensor(indices)]


@pytest.mark.parametrize("count", [1, 7, 8, 19, 100])
def test_the_first_samples(tmp_path: Path, count: int) -> None:
    transfer_set = TransferSet.open(written(tmp_path))
    samples = transfer_set.load(count, limit=0)
    assert len(samples.inputs) == len(samples.targets) == min(count, 19)
    assert torch.equal(in_memory(samples.inputs), in_memory(transfer_set.load().inputs[:count]))


@pytest.mark.parametrize("preadv", [True, False])
def test_threads_read_at_the_same_time(tmp_path: Path, preadv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system has no ``preadv``, as Windows."""
    if not preadv:
        monkeypatch.delattr(os, "preadv", raising=False)
    memory, disk = both(written(tmp_path))
    batches = [torch.randperm(19, generator=torch.Generator().manual_seed(seed))[:9] for seed in range(300)]
    with ThreadPoolExecutor(8) as pool:
        for stored, indices in zip(pool.map(disk.inputs.__getitem__, batches), batches, strict=True):
            assert torch.equal(stored, memory.inputs[indices])


def test_the_limit_counts_inputs_and_targets(tmp_path: Path) -> None:
    transfer_set = TransferSet.open(written(tmp_path))
    size = 19 * (3 * 4 * 4 * 2 + 3 * 4)
    assert isinstance(transfer_set.load(limit=size).inputs, Tensor)
    assert isinstance(transfer_set.load(limit=size - 1).inputs, StoredRows)
    assert isinstance(transfer_set.load(limit=size - 1).targets, StoredRows)
    assert isinstance(transfer_set.load(10, limit=size - 1).inputs, Tensor)


def read_all(folder: Path) -> None:
    rows = TransferSet.open(folder).load(limit=0).inputs
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    for indices in order.split(50):
        rows[indices]


def test_reading_takes_little_memory(tmp_path: Path) -> None:
    transfer_set = TransferSet.create(tmp_path / "set", {})
    part = torch.rand(100, 3, 64, 64).half()
    for _ in range(40):
        transfer_set.add(transfer_set.count, part, torch.rand(100, 10))
    outcome = in_process(read_all, tmp_path / "set", folder=tmp_path, limit=100)
    assert outcome.code == 0, outcome.stderr
    assert outcome.grown < 0.4 * 40 * part.nbytes


def shard(folder: Path) -> Path:
    return folder / "shard-00000012.safetensors"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def write_over(path: Path) -> None:
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


@pytest.mark.parametrize(
    ("change", "keep_open"), [(cut, True), (cut, False), (write_over, True), (write_over, False), (replace, False)]
)
def test_a_shard_that_changes_is_an_error(
    tmp_path: Path, change: Callable[[Path], None], keep_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_SHARDS", 64 if keep_open else 0)
    _, disk = both(written(tmp_path))
    rows = torch.tensor([0, 12, 15])
    disk.inputs[rows]
    change(shard(tmp_path))
    with pytest.raises(UsageError, match=r"shard-00000012\.safetensors: .*--resume") as error:
        disk.inputs[rows]
    assert "\n" not in str(error.value)
    assert len(disk.inputs[torch.tensor([0, 15])]) == 2  # of other shards


def test_an_open_shard_that_is_removed_can_still_be_read(tmp_path: Path) -> None:
    memory, disk = both(written(tmp_path))
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    assert torch.equal(in_memory(disk.inputs), in_memory(memory.inputs))


def test_files_are_closed(tmp_path: Path) -> None:
    _, disk = both(written(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    view = disk.inputs[3:]
    del disk
    assert len(view[torch.tensor([0])]) == 1
    del view
    assert len(os.listdir("/proc/self/fd")) == before - len(COUNTS)
