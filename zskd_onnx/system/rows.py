"""Samples as rows: a tensor, or a sequence with a tensor's interface whose rows stay in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, overload

import torch
from torch import Tensor

CPU = torch.device("cpu")

PART_BYTES = 1 << 20
"""Bytes that are copied at once."""


class Rows(Protocol):
    """Rows (N, ...) of one type and shape.

    A slice gives a view and reads nothing. A tensor of indices (n,) gives a tensor (n, ...).
    """

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, indices: slice, /) -> Rows: ...

    @overload
    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


def memory_format(shape: torch.Size) -> torch.memory_format:
    """Memory format of rows (N, ...): channels last for images of several channels."""
    return torch.channels_last if len(shape) == 4 and shape[1] > 1 else torch.contiguous_format


def in_memory(rows: Rows, device: torch.device = CPU) -> Tensor:
    """The rows as one tensor on a device; a tensor that is there already is returned itself."""
    if isinstance(rows, Tensor):
        return rows.to(device)
    whole = torch.empty(rows.shape, dtype=rows.dtype, device=device, memory_format=memory_format(rows.shape))
    size = max(1, PART_BYTES * len(rows) // max(1, rows.nbytes))
    for first in range(0, len(rows), size):
        last = min(first + size, len(rows))
        whole[first:last] = rows[torch.arange(first, last)]
    return whole


def parts(rows: Rows, size: int) -> Iterator[Tensor]:
    """The rows as tensors of at most ``size`` rows, one after another."""
    for first in range(0, len(rows), size):
        yield in_memory(rows[first : first + size])
