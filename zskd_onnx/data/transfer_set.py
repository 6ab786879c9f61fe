"""Transfer sets on disk: safetensors shards and an index, which can be read while the set grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import atomic_write, write_text

INDEX = "index.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Samples:
    """A transfer set in memory.

    Attributes:
        inputs: (N, *shape) in the unit space, float16; images are in channels-last memory format.
        targets: soft targets (N, K) that the inputs were made for, float32.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Shard:
    """One file of a transfer set.

    Attributes:
        file: its name.
        count: number of its samples.
        sha256: digest of its content; None in an index of an earlier version.
    """

    file: str
    count: int
    sha256: str | None = None


class TransferSet:
    """A transfer set as a folder of shards with an index.

    Inputs are stored as float16. Its steps are at most 2^-11 in [0, 1], finer than those of 8-bit pixels.

    Attributes:
        folder: the folder.
        identity: what the set was made from, and how. A run continues a set only if it would be the same.
        requested: number of samples that a run takes from the set, the largest of several runs;
            "wanted" in the index. None for an index of an earlier version.
        count: number of samples that are written. It is below ``requested`` after an interruption, and
            above it if the last batch was larger than needed.
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
        """Number of samples that are written."""
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
            shards = [Shard(str(s["file"]), int(s["count"]), s.get("sha256")) for s in index["shards"]]
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

    def request(self, count: int) -> None:
        """Record in the index that a run takes ``count`` samples, unless an earlier run takes more."""
        if count > (self.count if self.requested is None else self.requested):
            self.requested = count
            self._write_index()

    def append(self, inputs: Tensor, targets: Tensor) -> None:
        """Add a shard; the index lists it once it is completely written."""
        self._shards.append(self._written(f"shard-{len(self._shards):05d}.safetensors", inputs, targets))
        self._write_index()

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
        self._shards[self._shards.index(shard)] = self._written(shard.file, inputs, targets)
        self._write_index()

    def load(self, count: int | None = None) -> Samples:
        """The samples, read from the shards.

        Args:
            count: number of samples to read, from the first; None reads all.

        Raises:
            UsageError: a shard is missing or damaged, or the set is empty.
        """
        if not self._shards:
            raise UsageError(f"{self.folder}: the transfer set is empty; make it again, or complete it with --resume")
        count = self.count if count is None else min(count, self.count)
        shards = [shard for _, shard in self._starting_below(count)]
        sample, target = self._shapes(shards)  # before memory is allocated: a damaged index may claim any count
        order = torch.channels_last if len(sample) == 3 and sample[0] > 1 else torch.contiguous_format
        inputs = torch.empty((count, *sample), dtype=torch.float16, memory_format=order)
        samples = Samples(inputs, torch.empty((count, *target)))
        first = 0
        for shard in shards:
            last = min(first + shard.count, count)
            with self._errors(shard), safe_open(self.folder / shard.file, framework="pt") as file:
                samples.inputs[first:last] = file.get_slice("inputs")[: last - first]
                samples.targets[first:last] = file.get_slice("targets")[: last - first]
            first = last
        return samples

    def _starting_below(self, count: int) -> list[tuple[int, Shard]]:
        """The shards that hold the first ``count`` samples, each with the index of its first sample."""
        starts = accumulate((shard.count for shard in self._shards), initial=0)
        return [(first, shard) for first, shard in zip(starts, self._shards, strict=False) if first < count]

    def _shapes(self, shards: list[Shard]) -> tuple[list[int], list[int]]:
        """Shapes of one sample and of its target, the same in every shard; digests and headers are checked."""
        shapes: tuple[list[int], list[int]] | None = None
        for shard in shards:
            with self._opened(shard) as file:
                (inputs, *sample), (targets, *target) = (
                    file.get_slice(name).get_shape() for name in ("inputs", "targets")
                )
                if inputs != shard.count or targets != shard.count:
                    raise ValueError(f"expected {shard.count} samples")
                shapes = shapes or (sample, target)
                if shapes != (sample, target):
                    raise ValueError(f"expected samples of shape {shapes[0]} and targets of shape {shapes[1]}")
        assert shapes is not None
        return shapes

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

    def _written(self, file: str, inputs: Tensor, targets: Tensor) -> Shard:
        """A shard, written to its file."""
        content = save(
            {
                "inputs": inputs.to("cpu", torch.float16).contiguous(),
                "targets": targets.to("cpu", torch.float32).contiguous(),
            }
        )
        with atomic_write(self.folder / file) as partial:
            partial.write_bytes(content)
        return Shard(file, len(inputs), hashlib.sha256(content).hexdigest())

    def _write_index(self) -> None:
        index = {
            "schema_version": SCHEMA_VERSION,
            "identity": self.identity,
            "wanted": self.requested,
            "shards": [asdict(shard) for shard in self._shards],
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")
