"""The parts of a transfer set that are missing, and which of them this process makes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import TransferSet
from zskd_onnx.system.lock import LockedError, exclusive
from zskd_onnx.system.ranks import ranks

SHARD_SECONDS = 60.0
"""Longest time between two shards: a process that is killed loses the samples that no shard holds yet."""

PATTERN = ".part-{}.lock"
"""Name of the file of a claim."""

Batch = tuple[Tensor, Tensor]
"""Samples (N, *shape) and their targets (N, K), on the CPU."""


class Parts:
    """The batches that are missing, part by part, and the shards that they are written to.

    Each part is made by one process, which claims it when the first batch of the part is asked for.
    """

    def __init__(self, transfer_set: TransferSet, count: int, chunk: int, size: int) -> None:
        """
        Args:
            chunk: number of samples of a batch.
            size: number of samples of a part, a multiple of ``chunk``.
        """
        self._set = transfer_set
        self._end = -(-count // chunk) * chunk
        self._chunk = chunk
        self._size = size
        self._claims = _Claims(transfer_set.folder)
        self._left: dict[int, int] = {}
        self._pending: list[Batch] = []
        self._first = 0
        self._saved = time.monotonic()

    def __iter__(self) -> Iterator[int]:
        """The index of the first sample of each batch."""
        numbers, place = range(-(-self._end // self._size)), ranks()
        begin = len(numbers) * place.rank // place.count
        for part in (*numbers[begin:], *numbers[:begin]):
            if not self._missing(part) or not self._claims.take(part):
                continue
            self._set.refresh()
            batches = self._missing(part)
            self._left[part] = len(batches)
            if not batches:
                self._claims.release(part)
            yield from batches

    def put(self, first: int, batch: Batch) -> None:
        """Take a batch; it is written with its neighbours."""
        part = first // self._size
        if self._pending and first != self._first + self._chunk * len(self._pending):
            self._write()
        if not self._pending:
            self._first = first
        self._pending.append(batch)
        self._left[part] -= 1
        if not self._left[part] or time.monotonic() - self._saved >= SHARD_SECONDS:
            self._write()
        if not self._left[part]:
            self._claims.release(part)

    def close(self) -> None:
        """Write what is pending, and end all claims."""
        self._write()
        self._claims.close()

    def _write(self) -> None:
        if self._pending:
            inputs, targets = zip(*self._pending, strict=True)
            self._pending.clear()
            self._set.add(self._first, torch.cat(inputs), torch.cat(targets))
        self._saved = time.monotonic()

    def _missing(self, part: int) -> list[int]:
        begin = part * self._size
        gaps = self._set.missing(begin, min(begin + self._size, self._end))
        return [first for gap in gaps for first in range(gap.start, gap.stop, self._chunk)]


class _Claims:
    """Parts of a transfer set that no other process makes.

    A claim is a lock on a file in the folder of the set, which ends with its process. Where the file system has no locks,
    two processes may make the same part; it is the same samples.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, ExitStack] = {}

    def take(self, part: int) -> bool:
        """Claim a part; returns whether no other process has it."""
        stack = ExitStack()
        try:
            stack.enter_context(exclusive(self._folder / PATTERN.format(f"{part:05d}")))
        except LockedError:
            return False
        self._held[part] = stack
        return True

    def release(self, part: int) -> None:
        """End a claim."""
        self._held.pop(part).close()

    def close(self) -> None:
        """End all claims, and remove the files of processes that were killed."""
        for part in tuple(self._held):
            self.release(part)
        for path in self._folder.glob(PATTERN.format("*")):
            with suppress(LockedError), exclusive(path):
                pass
