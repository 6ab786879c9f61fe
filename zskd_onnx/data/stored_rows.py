"""A tensor of all shards of a transfer set as one sequence of rows, which are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.data.shard_file import ShardFile
from zskd_onnx.system.rows import CPU, memory_format


class StoredRows:
    """Rows (N, ...) of several shards, see ``Rows``. Several threads may read them.

    A tensor of indices reads its rows in the order of the files, neighbours together, and gives them in the order of
    the indices, in the memory format that ``memory_format`` gives.

    Raises:
        UsageError: a file cannot be read, or has changed since it was opened.
    """

    def __init__(self, files: Sequence[ShardFile], name: str, rows: range | None = None) -> None:
        """
        Args:
            files: at least one; their tensors have rows of one shape.
            name: of the tensor.
            rows: those of all files that the sequence has, in its order; None takes all.
        """
        self._files, self._name = files, name
        self._tensor = files[0].tensors[name]
        self._ends = np.cumsum([file.count for file in files])
        self._rows = range(int(self._ends[-1])) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self._tensor.shape))

    @property
    def dtype(self) -> torch.dtype:
        return self._tensor.dtype

    @property
    def device(self) -> torch.device:
        """The device of what is read."""
        return CPU

    @property
    def nbytes(self) -> int:
        return len(self) * self._tensor.row_bytes

    @overload
    def __getitem__(self, indices: slice, /) -> StoredRows: ...

    @overload
    def __getitem__(self, indices: Tensor, /) -> Tensor: ...

    def __getitem__(self, indices: slice | Tensor, /) -> StoredRows | Tensor:
        if isinstance(indices, slice):
            return StoredRows(self._files, self._name, self._rows[indices])
        numbers = indices.numpy()
        if len(numbers) and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"indices from {numbers.min()} to {numbers.max()} of {len(self)} rows")
        return self._read(self._rows.start + self._rows.step * np.where(numbers < 0, numbers + len(self), numbers))

    def _read(self, rows: np.ndarray) -> Tensor:
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        shape = torch.Size((len(rows), *self._tensor.shape))
        content = torch.empty(shape, dtype=self.dtype)
        places = content.numpy()
        numbers = np.searchsorted(self._ends, rows, side="right")
        # A run of neighbours in one file is read at once.
        splits = np.flatnonzero((np.diff(rows) != 1) | (np.diff(numbers) != 0)) + 1
        runs: dict[int, list[tuple[int, np.ndarray]]] = {}
        for first, last in zip([0, *splits], [*splits, len(rows)], strict=True):
            if first < last:
                number = int(numbers[first])
                begin = int(self._ends[number]) - self._files[number].count
                runs.setdefault(number, []).append((int(rows[first]) - begin, places[first:last]))
        if len(splits):
            for number, of_file in runs.items():
                self._files[number].announce(self._name, of_file)
        for number, of_file in runs.items():
            self._files[number].read(self._name, of_file)
        if (order[1:] < order[:-1]).any():
            content = content[torch.from_numpy(np.argsort(order))]
        result = torch.empty(shape, dtype=self.dtype, memory_format=memory_format(shape))
        return result.copy_(content)
