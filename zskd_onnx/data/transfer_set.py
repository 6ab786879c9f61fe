"""Transfer sets on disk: safetensors shards and an index, which can be read while the set grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zskd_onnx.data.shard_file import DTYPES, ShardFile
from zskd_onnx.data.stored_rows import StoredRows
from zskd_onnx.errors import UsageError
from zskd_onnx.system.available_memory import available_memory
from zskd_onnx.system.devices import CPU_MEMORY
from zskd_onnx.system.files import atomic_write, write_text
from zskd_onnx.system.lock import waiting_for
from zskd_onnx.system.rows import Rows, in_memory

INDEX = "index.json"
LOCK = ".index.lock"
"""File that is locked while the index changes."""

SCHEMA_VERSION = 1


MEMORY_SHARE = 4
"""Samples are read into memory if they fill at most this fraction of what is available: one fourth."""

OPEN_SHARDS = 64
"""Shards of a set on disk that stay open; a process may open 256 files or 1,024, depending on the system."""


@dataclass(frozen=True)
class Samples:
    """The samples of a transfer set, as tensors, or on disk where they are larger than memory.

    Attributes:
        inputs: (N, *shape) in the unit space, float16; images are in channels-last memory format.
        targets: soft targets (N, K) that the inputs were made for, float32.
    """

    inputs: Rows
    targets: Rows


@dataclass(frozen=True)
class Shard:
    """One file of a transfer set.

    Attributes:
        file: its name.
        first: index of its first sample in the set.
        count: number of its samples.
        sha256: digest of its content; None in an index of an earlier version.
    """

    file: str
    first: int
    count: int
    sha256: str | None = None

    @property
    def end(self) -> int:
        """Index of the first sample behind it."""
        return self.first + self.count


class TransferSet:
    """A transfer set as a folder of shards with an index.

    Several processes may add shards at a time, also from several machines that share the folder. Each shard is a range of
    the set's samples, so it does not matter who makes it.

    Inputs are stored as float16. Its steps are at most 2^-11 in [0, 1], finer than those of 8-bit pixels.

    Attributes:
        folder: the folder.
        identity: what the set was made from, and how. A run continues a set only if it would be the same.
        requested: number of samples that a run takes from the set, the largest of several runs;
            "wanted" in the index. None for an index of an earlier version.
        count: number of samples that are written, from the first one to the first gap. It is below ``requested`` after
            an interruption, and above it if the last batch was larger than needed.
        written: number of all samples that are written.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], shards: list[Shard], requested: int | None = None
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.requested = requested
        self._shards = shards

    @property
    def count(self) -> int:
        """See the attribute."""
        return sum(shard.count for shard in self._without_gap())

    @property
    def written(self) -> int:
        """See the attribute."""
        return sum(shard.count for shard in self._shards)

    @classmethod
    def create(cls, folder: Path, identity: dict[str, Any]) -> TransferSet:
        """A new, empty transfer set."""
        folder.mkdir(parents=True, exist_ok=True)
        transfer_set = cls(folder, identity, [])
        transfer_set._write_index()
        return transfer_set

    @classmethod
    def open(cls, folder: Path) -> TransferSet:
        """A transfer set that exists, complete or not.

        Raises:
            UsageError: the folder has no index, or a damaged one.
        """
        path = folder / INDEX
        if not path.is_file():
            raise UsageError(f"{folder}: no transfer set (it has no {INDEX})")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if index["schema_version"] != SCHEMA_VERSION:
                raise UsageError(f"{path}: schema version {index['schema_version']}, expected {SCHEMA_VERSION}")
            shards = _read_shards(index["shards"])
            identity = dict(index["identity"])
            requested = None if index.get("wanted") is None else int(index["wanted"])
            if requested is not None and requested < 1:
                raise ValueError(f"wanted is {requested}, expected 1 or more")
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}: damaged index ({error}); make the transfer set again with --overwrite"
            ) from error
        if any(Path(shard.file).name != shard.file for shard in shards):
            raise UsageError(f"{path}: a shard is outside the folder; expected plain file names")
        return cls(folder, identity, shards, requested)

    @classmethod
    def join(cls, folder: Path, identity: dict[str, Any]) -> TransferSet:
        """The transfer set of a folder, which is created if there is none; several processes may call it at a time."""
        folder.mkdir(parents=True, exist_ok=True)
        with waiting_for(folder / LOCK):
            return cls.open(folder) if (folder / INDEX).is_file() else cls.create(folder, identity)

    def request(self, count: int) -> None:
        """Record in the index that a run takes ``count`` samples, unless an earlier run takes more."""
        with waiting_for(self.folder / LOCK):
            self.refresh()
            if count > (self.count if self.requested is None else self.requested):
                self.requested = count
                self._write_index()

    def add(self, first: int, inputs: Tensor, targets: Tensor) -> None:
        """Add a shard; the index lists it once it is completely written.

        A range that another process has added in the meantime stays as it is.

        Args:
            first: index of its first sample in the set.
        """
        if self.missing(first, first + len(inputs)) != [range(first, first + len(inputs))]:
            return
        shard = self._saved(f"shard-{first:08d}.safetensors", first, inputs, targets)
        with waiting_for(self.folder / LOCK):
            self.refresh()
            if self.missing(first, shard.end) == [range(first, shard.end)]:
                self._shards = sorted((*self._shards, shard), key=lambda each: each.first)
                self._write_index()

    def refresh(self) -> None:
        """Learn of the shards that other processes have added."""
        now = TransferSet.open(self.folder)
        self.requested, self._shards = now.requested, now._shards

    def missing(self, first: int, end: int) -> list[range]:
        """The ranges of samples from ``first`` to before ``end`` that are not written, in order."""
        gaps = []
        for shard in self._shards:
            if shard.first > first:
                gaps.append(range(first, min(shard.first, end)))
            first = max(first, shard.end)
            if first >= end:
                break
        else:
            gaps.append(range(first, end))
        return [gap for gap in gaps if gap]

    def damaged(self, below: int) -> list[tuple[int, Shard]]:
        """The shards that are missing or differ from their digest, each with the index of its first sample.

        Args:
            below: shards that start at this sample or later are left out.
        """
        shards = []
        for first, shard in self._starting_below(below):
            try:
                with self._opened(shard):
                    pass
            except UsageError:
                shards.append((first, shard))
        return shards

    def replace(self, shard: Shard, inputs: Tensor, targets: Tensor) -> None:
        """Write a shard again."""
        saved = self._saved(shard.file, shard.first, inputs, targets)
        with waiting_for(self.folder / LOCK):
            self.refresh()
            self._shards = [saved if each.file == shard.file else each for each in self._shards]
            self._write_index()

    def load(self, count: int | None = None, limit: int | None = None) -> Samples:
        """The samples, read from the shards, or where they are larger than a limit, left on disk and read as needed.

        Both give the same values in the same memory format. Each shard is compared with its digest once, here.

        Args:
            count: number of samples to load, from the first; None loads all.
            limit: bytes that may be read into memory; None takes a ``MEMORY_SHARE`` of what is available.

        Raises:
            UsageError: a shard is missing or damaged, or the set is empty. On disk, reading raises it, too.
        """
        if not self.count:
            raise UsageError(f"{self.folder}: the transfer set is empty; make it again, or complete it with --resume")
        count = self.count if count is None else min(count, self.count)
        files: list[ShardFile] = []
        for _, shard in self._starting_below(count):
            with self._errors(shard):
                path, keep_open = self.folder / shard.file, len(files) < OPEN_SHARDS
                files.append(ShardFile(path, shard.count, shard.sha256, keep_open=keep_open))
                for name, tensor in files[-1].tensors.items():
                    if tensor.shape != (expected := files[0].tensors[name].shape):
                        raise ValueError(f"expected {name} of shape {list(expected)}")
        inputs, targets = (StoredRows(files, name)[:count] for name in DTYPES)
        if not fits_in_memory(inputs.nbytes + targets.nbytes, limit):
            return Samples(inputs, targets)
        return Samples(in_memory(inputs), in_memory(targets))

    def _starting_below(self, count: int) -> list[tuple[int, Shard]]:
        """The shards that hold the first ``count`` samples, each with the index of its first sample."""
        return [(shard.first, shard) for shard in self._without_gap() if shard.first < count]

    def _without_gap(self) -> list[Shard]:
        """The shards from the first sample to the first gap."""
        ends = accumulate((shard.count for shard in self._shards), initial=0)
        return [shard for shard, end in zip(self._shards, ends, strict=False) if shard.first == end]

    @contextmanager
    def _opened(self, shard: Shard) -> Iterator[Any]:
        """An open shard, whose digest is right."""
        path = self.folder / shard.file
        with self._errors(shard):
            if shard.sha256 is not None:
                with path.open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() != shard.sha256:
                        raise ValueError("its SHA-256 differs from the one in the index")
            with safe_open(path, framework="pt") as file:
                yield file

    @contextmanager
    def _errors(self, shard: Shard) -> Iterator[None]:
        """Errors within the context become a UsageError that names the file."""
        try:
            yield
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(
                f"{self.folder / shard.file}: damaged or missing shard ({error}); --resume on its run makes the shard "
                "again, --overwrite the whole set"
            ) from error

    def _saved(self, file: str, first: int, inputs: Tensor, targets: Tensor) -> Shard:
        """A shard, written to its file."""
        content = save(
            {
                "inputs": inputs.to("cpu", torch.float16).contiguous(),
                "targets": targets.to("cpu", torch.float32).contiguous(),
            }
        )
        with atomic_write(self.folder / file) as partial:
            partial.write_bytes(content)
        return Shard(file, first, len(inputs), hashlib.sha256(content).hexdigest())

    def _write_index(self) -> None:
        index = {
            "schema_version": SCHEMA_VERSION,
            "identity": self.identity,
            "wanted": self.requested,
            "shards": [asdict(shard) for shard in self._shards],
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")


def _read_shards(entries: Sequence[dict[str, Any]]) -> list[Shard]:
    """The shards of an index; those of earlier versions lie end to end."""
    shards, end = list[Shard](), 0
    for entry in entries:
        shard = Shard(str(entry["file"]), int(entry.get("first", end)), int(entry["count"]), entry.get("sha256"))
        if shard.first < end or shard.count < 1:
            raise ValueError(f"{shard.file} holds samples {shard.first} to {shard.end}, expected a range behind {end}")
        shards.append(shard)
        end = shard.end
    return shards


def fits_in_memory(size: int, limit: int | None = None) -> bool:
    """Whether samples of a number of bytes are read into memory; see ``TransferSet.load`` for the limit."""
    if limit is None:
        available = available_memory()
        limit = (CPU_MEMORY if available is None else available) // MEMORY_SHARE
    return size <= limit
