"""Reading an ONNX file that nobody vouches for.

Every check that guards memory or the file system happens here, before a weight is copied:
the file parses, external data stays inside the model's folder, every tensor has the bytes that
its shape asks for, and every weight is finite.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.fixed_inputs import Fixed, fix_inputs


@dataclass(frozen=True)
class Source:
    """An ONNX file as read.

    Attributes:
        path: where it was read from.
        sha256: digest of the .onnx file (external data not included).
        proto: the model, external data not loaded, fixed inputs as constants.
        model: the same as onnx-ir.
        size: bytes of the file and of its external data.
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    model: ir.Model
    size: int

    @property
    def opset(self) -> int:
        """Version of the default operator domain."""
        return self.model.opset_imports.get("", 0)


def read_source(path: str | Path, fixed: Fixed | None = None) -> Source:
    """Read and check an ONNX file.

    Args:
        fixed: constants for inputs, see ``fix_inputs``.

    Raises:
        UsageError: there is no such file, or a constant does not fit.
        UnsupportedTeacherError: it is not ONNX, is damaged, points outside its folder, or holds
            weights that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected an ONNX model")
    content = path.read_bytes()
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise UnsupportedTeacherError(
            f"{path}: not an ONNX model, or a truncated one (the file does not parse); export it again"
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise UnsupportedTeacherError(f"{path}: not an ONNX model (it holds no graph); export it again")
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise UnsupportedTeacherError(
                f"{path}: opset {opset.version} is newer than the installed onnx knows ({newest}); "
                "upgrade onnx, or export at an older opset"
            )
    fix_inputs(proto, fixed or {})
    for value in proto.graph.output:
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            value.ClearField("type")  # onnx-ir reads no maps; runtimes infer it
    external = sum(_check_tensor(tensor, path) for tensor in _tensors(proto.graph))
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on a malformed graph
        raise UnsupportedTeacherError(
            f"{path}: malformed ONNX graph ({_first_line(error)}); export it again"
        ) from error
    ir.external_data.set_base_dir(model.graph, str(path.parent))
    _check_finite(model, path)
    return Source(path, hashlib.sha256(content).hexdigest(), proto, model, len(content) + external)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Initialisers and tensor attributes, subgraphs included."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found.extend(attribute.tensors)
            for subgraph in [attribute.g, *attribute.graphs]:
                found.extend(_tensors(subgraph))
    return found


def _check_tensor(tensor: onnx.TensorProto, path: Path) -> int:
    """Check a tensor's bytes against its shape; returns the bytes it keeps outside the file."""
    known = onnx.TensorProto.DataType.values()
    if tensor.data_type not in known or any(n < 0 for n in tensor.dims):
        raise UnsupportedTeacherError(f"{path}: tensor '{tensor.name}' has an unknown type or a negative dimension")
    elements = math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _check_external(tensor, path)
    if tensor.HasField("raw_data"):
        bits = ir.DataType(tensor.data_type).bitwidth
        expected = -(-elements * bits // 8)
        if len(tensor.raw_data) != expected:
            raise UnsupportedTeacherError(
                f"{path}: tensor '{tensor.name}' of shape {list(tensor.dims)} holds {len(tensor.raw_data)} bytes, "
                f"expected {expected}; the file is damaged, export it again"
            )
    return 0


def _check_external(tensor: onnx.TensorProto, path: Path) -> int:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.parent.resolve()
    target = (folder / fields.get("location", "")).resolve()
    if not target.is_relative_to(folder):
        raise UnsupportedTeacherError(
            f"{path}: tensor '{tensor.name}' asks for data outside the model's folder ('{fields.get('location')}'); refused"
        )
    if not target.is_file():
        raise UnsupportedTeacherError(
            f"{path}: the weights of tensor '{tensor.name}' lie in '{fields.get('location')}', which is not in the "
            "model's folder; put the file beside the model"
        )
    needed = -(-math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth // 8)
    try:
        offset, length = int(fields.get("offset", 0)), int(fields.get("length", needed))
    except ValueError:
        offset, length = -1, needed
    if length != needed:
        raise UnsupportedTeacherError(
            f"{path}: tensor '{tensor.name}' of shape {list(tensor.dims)} takes {length} bytes of "
            f"'{fields.get('location')}', expected {needed}; the file is damaged, export it again"
        )
    if offset < 0 or offset + needed > target.stat().st_size:
        raise UnsupportedTeacherError(f"{path}: '{fields.get('location')}' is too short for tensor '{tensor.name}'")
    return needed


def _check_finite(model: ir.Model, path: Path) -> None:
    weights = [(name, value.const_value) for name, value in model.graph.initializers.items()]
    for node in model.graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                weights.append((node.outputs[0].name or "", attribute.as_tensor()))
    for name, tensor in weights:
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        try:
            array = tensor.numpy()
        except Exception as error:
            raise UnsupportedTeacherError(f"{path}: tensor '{name}' cannot be read ({_first_line(error)})") from error
        # Infinities are legal constants (attention masks); NaN never is.
        if np.isnan(array.astype(np.float32, copy=False)).any():
            raise UnsupportedTeacherError(f"{path}: weights '{name}' hold NaN; the training of this model diverged")
