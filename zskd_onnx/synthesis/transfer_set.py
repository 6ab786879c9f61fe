"""The transfer set on disk: safetensors shards and an index, readable while it grows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zskd_onnx.errors import UsageError
from zskd_onnx.files import write_text, written_beside

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
        count: samples that are written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], shards: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.identity = identity
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
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: damaged index ({error}); make the transfer set again") from error
        if any(Path(str(s["file"])).name != s["file"] for s in shards):
            raise UsageError(f"{path}: a shard lies outside the folder; refused")
        return cls(folder, identity, shards)

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
        parts = []
        for shard in self._shards:
            path = self.folder / shard["file"]
            try:
                part = load_file(path)
                if len(part["inputs"]) != shard["count"] or len(part["targets"]) != shard["count"]:
                    raise ValueError(f"expected {shard['count']} samples")
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise UsageError(f"{path}: damaged or missing shard ({error}); make the transfer set again") from error
            parts.append(part)
        inputs = torch.cat([part["inputs"] for part in parts])[:count]
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return Samples(inputs, torch.cat([part["targets"] for part in parts])[:count])

    def _write_index(self) -> None:
        index = {"schema_version": SCHEMA_VERSION, "identity": self.identity, "shards": self._shards}
        write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")
