"""Transfer sets on disk: safetensors shards and an index, which can be read while the set grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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
        self, folder: Path, identity: dict[str, Any], shards: list[dict[str, Any]], requested: int | None = None
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.requested = requested
        self._shards = shards

    @property
    def count(self) -> int:
        """Number of samples that are written."""
        return sum(int(shard["count"]) for shard in self._shards)

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
            shards = [{"file": str(s["file"]), "count": int(s["count"])} for s in index["shards"]]
            identity = dict(index["identity"])
            requested = None if index.get("wanted") is None else int(index["wanted"])
            if requested is not None and requested < 1:
                raise ValueError(f"wanted is {requested}, expected 1 or more")
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: damaged index ({error}); make the transfer set again") from error
        if any(Path(str(s["file"])).name != s["file"] for s in shards):
            raise UsageError(f"{path}: a shard is outside the folder; expected plain file names")
        return cls(folder, identity, shards, requested)

    def request(self, count: int) -> None:
        """Record in the index that a run takes ``count`` samples, unless an earlier run takes more."""
        if count > (self.count if self.requested is None else self.requested):
            self.requested = count
            self._write_index()

    def append(self, inputs: Tensor, targets: Tensor) -> None:
        """Add a shard; the index lists it once it is completely written."""
        name = f"shard-{len(self._shards):05d}.safetensors"
        tensors = {
            "inputs": inputs.to("cpu", torch.float16).contiguous(),
            "targets": targets.to("cpu", torch.float32).contiguous(),
        }
        with atomic_write(self.folder / name) as partial:
            try:
                save_file(tensors, partial)
            except SafetensorError as error:
                raise OSError(f"{self.folder / name}: {error}") from error
        self._shards.append({"file": name, "count": len(inputs)})
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
        sample, target = self._shapes()  # before memory is allocated: a damaged index may claim any count
        count = self.count if count is None else min(count, self.count)
        order = torch.channels_last if len(sample) == 3 and sample[0] > 1 else torch.contiguous_format
        inputs = torch.empty((count, *sample), dtype=torch.float16, memory_format=order)
        samples = Samples(inputs, torch.empty((count, *target)))
        first = 0
        for shard in self._shards:
            last = min(first + shard["count"], count)
            with self._shard(shard) as file:
                samples.inputs[first:last] = file.get_slice("inputs")[: last - first]
                samples.targets[first:last] = file.get_slice("targets")[: last - first]
            first = last
        return samples

    def _shapes(self) -> tuple[list[int], list[int]]:
        """Shapes of one sample and of its target, the same in every shard; only headers are read."""
        shapes: tuple[list[int], list[int]] | None = None
        for shard in self._shards:
            with self._shard(shard) as file:
                (inputs, *sample), (targets, *target) = (
                    file.get_slice(name).get_shape() for name in ("inputs", "targets")
                )
                if inputs != shard["count"] or targets != shard["count"]:
                    raise ValueError(f"expected {shard['count']} samples")
                shapes = shapes or (sample, target)
                if shapes != (sample, target):
                    raise ValueError(f"expected samples of shape {shapes[0]} and targets of shape {shapes[1]}")
        assert shapes is not None
        return shapes

    @contextmanager
    def _shard(self, shard: dict[str, Any]) -> Iterator[Any]:
        """An open shard; errors within the context become a UsageError that names the file."""
        path = self.folder / shard["file"]
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (OSError, SafetensorError, ValueError) as error:
            raise UsageError(f"{path}: damaged or missing shard ({error}); make the transfer set again") from error

    def _write_index(self) -> None:
        index = {
            "schema_version": SCHEMA_VERSION,
            "identity": self.identity,
            "wanted": self.requested,
            "shards": self._shards,
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")
