"""What a model file stores: its size, and the element types of its constants."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from zskd_onnx.importer.file.external_files import external_files
from zskd_onnx.importer.file.stored_tensors import tensors_of

WEIGHT_TYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
}
"""Element types of weights; the other types are those of shapes and indices."""


@dataclass(frozen=True)
class StoredModel:
    """A model file.

    Attributes:
        path: of the file.
        sha256: digest of the .onnx file.
        bytes: size of the file and of its external data.
        weights: element type, such as "int8" -> number of constants, apart from scalars; the most frequent first.
    """

    path: str
    sha256: str
    bytes: int
    weights: dict[str, int]

    @property
    def weights_in_words(self) -> str:
        """Shares of the element types, such as "99.1 % int8, 0.9 % float32"."""
        total = sum(self.weights.values())
        return ", ".join(f"{100 * count / total:.1f} % {name}" for name, count in self.weights.items())


def read_stored_model(path: Path) -> StoredModel:
    """Size, digest and element types, read from a file."""
    model = onnx.load(path, load_external_data=False)
    size = path.stat().st_size + sum(file.stat().st_size for file in external_files(path))
    return StoredModel(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), size, weights_by_type(model))


def weights_by_type(model: onnx.ModelProto) -> dict[str, int]:
    """Element type -> number of constants in the main graph, apart from scalars, such as scales and zero points."""
    counts: Counter[str] = Counter()
    for stored in tensors_of(model).values():
        tensor = stored if isinstance(stored, TensorProto) else stored.t
        if tensor.dims and tensor.data_type in WEIGHT_TYPES:
            counts[WEIGHT_TYPES[tensor.data_type]] += math.prod(tensor.dims)
    return dict(counts.most_common())
