"""Check that each tensor has as much data as its shape needs, in the file or in the model's folder."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx_ir as ir
from onnx import ModelProto, TensorProto

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks.walk import all_graphs, attributes

RANK_LIMIT = 32
"""Largest number of dimensions of a tensor."""

SHARED_LIMIT = 1 << 28
"""Bytes that weights may read from an external file beyond its size, because they overlap."""

_TYPED: dict[str, dict[int, int]] = {
    "float_data": {TensorProto.FLOAT: 1, TensorProto.COMPLEX64: 2},
    "double_data": {TensorProto.DOUBLE: 1, TensorProto.COMPLEX128: 2},
    "int64_data": {TensorProto.INT64: 1},
    "uint64_data": {TensorProto.UINT32: 1, TensorProto.UINT64: 1},
    "string_data": {TensorProto.STRING: 1},
}
"""Field of a TensorProto -> element type -> entries for each element; all other types are in int32_data."""


def check_tensors(model: ModelProto, folder: Path) -> int:
    """Check all weights and tensor attributes.

    Only weights of the main graph may be in an external file, as exporters write them. For other
    tensors, runtimes do not agree on the folder.

    Args:
        model: the parsed file.
        folder: the folder of the file; external weights must be inside it.

    Returns:
        Bytes of external data that the weights use.

    Raises:
        UnsupportedTeacherError: a tensor has too much or too little data, or an external file is
            missing or outside the folder.
    """
    external: Counter[Path] = Counter()
    for tensor in model.graph.initializer:
        _check_shape(tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            path, size = _check_external(tensor, folder)
            external[path] += size
        else:
            _check_content(tensor)
    for graph in all_graphs(model):
        if graph.sparse_initializer:
            raise UnsupportedTeacherError("sparse weights are not supported; export the model with dense ones")
        if graph is not model.graph:
            for tensor in graph.initializer:
                _check_inner(tensor)
    for attribute in attributes(model):
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise UnsupportedTeacherError("sparse constants are not supported; export the model with dense ones")
        for tensor in [attribute.t] if attribute.HasField("t") else attribute.tensors:
            _check_inner(tensor)
    for path, size in external.items():
        if size > path.stat().st_size + SHARED_LIMIT:
            raise UnsupportedTeacherError(
                f"weights read {size:,} bytes from '{path.name}', which has {path.stat().st_size:,}, so they overlap; "
                "export the model again"
            )
    return external.total()


def _check_inner(tensor: TensorProto) -> None:
    _check_shape(tensor)
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' of an attribute or a subgraph has its data in another file; expected it in the "
            "model, export it again without external data"
        )
    _check_content(tensor)


def _check_shape(tensor: TensorProto) -> None:
    known = tensor.data_type != TensorProto.UNDEFINED and tensor.data_type in TensorProto.DataType.values()
    if not known or any(n < 0 for n in tensor.dims):
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' has an unknown type or a negative dimension; the file is damaged, export it again"
        )
    if len(tensor.dims) > RANK_LIMIT or any(n >= 1 << 31 for n in tensor.dims):
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' has {len(tensor.dims)} dimensions, expected at most {RANK_LIMIT}, each below 2^31"
        )
    if tensor.HasField("segment"):
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' is split into segments, which are not supported; export the model again"
        )


def _check_content(tensor: TensorProto) -> None:
    """Check that exactly one field has data, and as much as the shape needs."""
    elements = math.prod(tensor.dims)
    fields = {name: len(getattr(tensor, name)) for name in (*_TYPED, "int32_data") if len(getattr(tensor, name))}
    if tensor.raw_data and tensor.data_type != TensorProto.STRING:
        fields["raw_data"] = len(tensor.raw_data)
    name = "raw_data" if "raw_data" in fields else _field(tensor.data_type)
    expected = _bytes(tensor) if name == "raw_data" else _entries(name, tensor.data_type, elements)
    if fields != ({name: expected} if expected else {}):
        content = " and ".join(f"{count} {_unit(field)}" for field, count in fields.items()) or "no data"
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} has {content}, expected {expected} {_unit(name)}; "
            "the file is damaged, export it again"
        )


def _field(kind: int) -> str:
    return next((name for name, kinds in _TYPED.items() if kind in kinds), "int32_data")


def _unit(field: str) -> str:
    return "bytes" if field == "raw_data" else f"values in {field}"


def _entries(field: str, kind: int, elements: int) -> int:
    if field != "int32_data":
        return elements * _TYPED[field][kind]
    packed = max(8 // ir.DataType(kind).bitwidth, 1)  # several values of less than 8 bits share an entry
    return -(-elements // packed)


def _bytes(tensor: TensorProto) -> int:
    return -(-math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth // 8)


def _check_external(tensor: TensorProto, folder: Path) -> tuple[Path, int]:
    """The external file of a tensor, and the bytes that the tensor reads from it."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    if len(fields) < len(tensor.external_data) or tensor.data_type == TensorProto.STRING:
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' has no valid reference to its external data; the file is damaged, export it again"
        )
    try:
        inside = folder.resolve()
        target = (inside / location).resolve()
        if not target.is_relative_to(inside):
            raise UnsupportedTeacherError(
                f"tensor '{tensor.name}' refers to data outside the model's folder ({location!a}); put the data beside the model"
            )
        exists = target.is_file()
    except (OSError, ValueError, RuntimeError):  # an impossible file name, or a cycle of links
        exists = False
    if not exists:
        raise UnsupportedTeacherError(
            f"the data of tensor '{tensor.name}' is in {location[:200]!a}, which is not in the model's folder; "
            "put the file beside the model"
        )
    needed = _bytes(tensor)
    try:
        offset, length = int(fields.get("offset", 0)), int(fields.get("length", needed))
    except ValueError:
        offset, length = -1, needed
    if length != needed:
        raise UnsupportedTeacherError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} reads {length} bytes from "
            f"'{location}', expected {needed}; the file is damaged, export it again"
        )
    if offset < 0 or offset + needed > target.stat().st_size:
        raise UnsupportedTeacherError(f"'{location}' is too short for tensor '{tensor.name}'; copy or export it again")
    return target, needed
