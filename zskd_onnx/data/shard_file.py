"""A shard whose rows are read one by one: a safetensors file, checked when it is opened."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zskd_onnx.errors import UsageError

DTYPES = {"inputs": ("F16", torch.float16), "targets": ("F32", torch.float32)}
"""Tensor of a shard -> its element type, as safetensors names it and as torch does."""

HEADER_LIMIT = 1 << 20
"""Largest header in bytes; that of a shard with two tensors has about 150."""

_position = threading.Lock()
"""Held while a file without ``preadv`` is read, because its position is one for all threads."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file.

    Attributes:
        offset: of its first row, in bytes.
        shape: of one row.
        dtype: of its elements.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape) * self.dtype.itemsize


class ShardFile:
    """A shard of a transfer set.

    Its rows are read with ``preadv`` rather than mapped: pages of a map count as memory of the process, and reading a map
    of a file that was cut kills the process.

    Attributes:
        path: of the file.
        count: number of its rows.
        tensors: name -> where the tensor lies, for "inputs" and "targets".
    """

    def __init__(self, path: Path, count: int, sha256: str | None, *, keep_open: bool) -> None:
        """
        Args:
            count: number of rows that the file must have.
            sha256: digest that its content must have; None checks none.
            keep_open: whether the file stays open. Otherwise each ``read`` opens it.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no such shard, or its digest is another one.
        """
        self.path, self.count = path, count
        self._descriptor: int | None = None
        descriptor = _open(path)
        closing = weakref.finalize(self, os.close, descriptor)
        self._state = _state(descriptor)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError("its SHA-256 differs from the one in the index")
        self.tensors = _tensors(descriptor, os.fstat(descriptor).st_size, count)
        if keep_open:
            self._descriptor = descriptor
        else:
            closing()

    def announce(self, name: str, runs: Iterable[tuple[int, np.ndarray]]) -> None:
        """Have the system begin to read rows that ``read`` will ask for, so that a disk reads many at the same time."""
        if not hasattr(os, "posix_fadvise"):  # macOS, Windows
            return
        tensor = self.tensors[name]
        with suppress(OSError), self._opened() as descriptor:  # ``read`` reports a fault
            for row, target in runs:
                offset = tensor.offset + row * tensor.row_bytes
                os.posix_fadvise(descriptor, offset, target.nbytes, os.POSIX_FADV_WILLNEED)

    def read(self, name: str, runs: Iterable[tuple[int, np.ndarray]]) -> None:
        """Read rows of a tensor.

        Args:
            runs: the first row of each run of rows, and the array (n, ...) that they fill, in C order.

        Raises:
            UsageError: the file cannot be read, or has changed since it was opened.
        """
        tensor = self.tensors[name]
        try:
            with self._opened() as descriptor:
                for row, target in runs:
                    _read(descriptor, target.data.cast("B"), tensor.offset + row * tensor.row_bytes)
                changed = _state(descriptor) != self._state
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.path}: cannot be read any more ({error}); continue the run with --resume"
            ) from error
        if changed:
            raise UsageError(
                f"{self.path}: was changed while it was in use; leave the transfer set as it is, and continue the run with "
                "--resume"
            )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The descriptor of the open file."""
        if self._descriptor is not None:
            yield self._descriptor
            return
        descriptor = _open(self.path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))


def _state(descriptor: int) -> tuple[int, ...]:
    """What differs for another file, and for a file that was written to."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(descriptor: int, target: memoryview, offset: int) -> None:
    """Fill a buffer with the bytes from an offset on; ValueError where the file ends before."""
    while target:
        if hasattr(os, "preadv"):
            count = os.preadv(descriptor, [target], offset)
        else:  # Windows
            with _position:
                os.lseek(descriptor, offset, os.SEEK_SET)
                content = os.read(descriptor, len(target))
            count = len(content)
            target[:count] = content
        if not count:
            raise ValueError("it ends too early")
        target, offset = target[count:], offset + count


def _tensors(descriptor: int, size: int, count: int) -> dict[str, StoredTensor]:
    """Where the tensors of a safetensors file lie; ValueError unless the header describes the file exactly.

    Nothing is allocated that the header claims.
    """
    if size < 8:
        raise ValueError(f"it has {size} bytes")
    length = bytearray(8)
    _read(descriptor, memoryview(length), 0)
    header_bytes = int.from_bytes(length, "little")
    begin = 8 + header_bytes
    if header_bytes > HEADER_LIMIT or begin > size:
        raise ValueError(f"it claims a header of {header_bytes} bytes, and has {size} bytes in all")
    text = bytearray(header_bytes)
    _read(descriptor, memoryview(text), 8)
    try:
        header = {key: _entry(value) for key, value in json.loads(text).items() if key != "__metadata__"}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its header is no header of safetensors") from error
    end = 0
    for first, last in sorted(place for _, _, place in header.values()):
        if first != end or last < first:
            raise ValueError(f"a tensor is at bytes {first} to {last} of the data, expected its start at {end}")
        end = last
    if begin + end != size:
        raise ValueError(f"its header describes {begin + end} bytes, and it has {size}")
    tensors = {}
    for name, (stored_type, dtype) in DTYPES.items():
        if name not in header:
            raise ValueError(f"it has no tensor {name}")
        kind, shape, (first, last) = header[name]
        if kind != stored_type:
            raise ValueError(f"{name} has the type {kind}, expected {stored_type}")
        if not shape or shape[0] != count or not prod(shape):
            raise ValueError(f"{name} has the shape {shape}, expected {count} samples")
        if prod(shape) * dtype.itemsize != last - first:
            raise ValueError(f"{name} of shape {shape} and type {kind} has {last - first} bytes")
        tensors[name] = StoredTensor(begin + first, tuple(shape[1:]), dtype)
    return tensors


def _entry(entry: Any) -> tuple[str, list[int], tuple[int, int]]:
    """Type, shape and place of a tensor, as a header has them."""
    first, last = entry["data_offsets"]
    numbers = [*entry["shape"], first, last]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError(f"expected whole numbers, not {numbers}")
    return str(entry["dtype"]), numbers[:-2], (first, last)
