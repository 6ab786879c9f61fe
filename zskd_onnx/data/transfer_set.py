"""The transfer set on disk: safetensors shards and an index, readable while it grows."""

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
from zskd_onnx.system.files import write_text, written_beside

INDEX = "index.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Samples:
    """A transfer set in memory.

    Attributes:
        inputs: (N, *shape) in the unit space, float16, channels last where they are images.
        targets: (N, K) soft targets that the inputs were made for, float32.
    """

    inputs: Tensor
    targets: Tensor


class TransferSet:
    """A folder of shards.

    Inputs are kept as float16: steps of at most 2^-11 in [0, 1], finer than 8-bit pixels.

    Attributes:
        folder: where it lies.
        identity: what it was made from and how; a run continues a transfer set only if this is
            the same.
        wanted: samples that a run takes of it, the most where there were several; None in an index of
            earlier versions.
        count: samples that are written: fewer where a run was interrupted, more where the last batch
            is larger than what was missing.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], shards: list[dict[str, Any]], wanted: int | None = None
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.wanted = wanted
        self._shards = shards

    @property
    def count(self) -> int:
        return sum(int(shard["count"]) for shard in self._shards)

    @classmethod
    def create(cls, folder: Path, identity: dict[str, Any]) -> TransferSet:
        """An empty transfer set."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, identity, [])
        made._write_index()
        return made

    @classmethod
    def open(cls, folder: Path) -> TransferSet:
        """Read the index of a transfer set, complete or not.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        path = folder / INDEX
        if not path.is_file():
            raise UsageError(f"{folder}: no transfer set there (no {INDEX})")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if index["schema_version"] != SCHEMA_VERSION:
                raise UsageError(f"{path}: schema version {index['schema_version']}, expected {SCHEMA_VERSION}")
            shards = [{"file": str(s["file"]), "count": int(s["count"])} for s in index["shards"]]
            identity = dict(index["identity"])
            wanted = None if index.get("wanted") is None else int(index["wanted"])
            if wanted is not None and wanted < 1:
                raise ValueError(f"wanted {wanted}, expected 1 or more")
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: damaged index ({error}); make the transfer set again") from error
        if any(Path(str(s["file"])).name != s["file"] for s in shards):
            raise UsageError(f"{path}: a shard lies outside the folder; refused")
        return cls(folder, identity, shards, wanted)

    def want(self, count: int) -> None:
        """Say in the index how many samples a run takes, if they are more than those of the runs before."""
        if count > (self.count if self.wanted is None else self.wanted):
            self.wanted = count
            self._write_index()

    def append(self, inputs: Tensor, targets: Tensor) -> None:
        """Add a shard; the index names it only once it is whole."""
        name = f"shard-{len(self._shards):05d}.safetensors"
        tensors = {
            "inputs": inputs.to("cpu", torch.float16).contiguous(),
            "targets": targets.to("cpu", torch.float32).contiguous(),
        }
        with written_beside(self.folder / name) as partial:
            try:
                save_file(tensors, partial)
            except SafetensorError as error:
                raise OSError(f"{self.folder / name}: {error}") from error
        self._shards.append({"file": name, "count": len(inputs)})
        self._write_index()

    def load(self, count: int | None = None) -> Samples:
        """Read the shards.

        Args:
            count: how many samples to keep, from the first; all if None.

        Raises:
            UsageError: a shard is missing or damaged, or there is none.
        """
        if not self._shards:
            raise UsageError(f"{self.folder}: the transfer set is empty; make it again, or finish it with --resume")
        sample, target = self._shapes()  # before any room is made: an index may claim anything
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
        """Of one sample and of its targets, in every shard; nothing but their headers is read."""
        found: tuple[list[int], list[int]] | None = None
        for shard in self._shards:
            with self._shard(shard) as file:
                (inputs, *sample), (targets, *target) = (
                    file.get_slice(name).get_shape() for name in ("inputs", "targets")
                )
                if inputs != shard["count"] or targets != shard["count"]:
                    raise ValueError(f"expected {shard['count']} samples")
                found = found or (sample, target)
                if found != (sample, target):
                    raise ValueError(f"expected samples of shape {found[0]} and targets of shape {found[1]}")
        assert found is not None
        return found

    @contextmanager
    def _shard(self, shard: dict[str, Any]) -> Iterator[Any]:
        """A shard to read from; what is wrong with it ends in its name."""
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
            "wanted": self.wanted,
            "shards": self._shards,
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")
