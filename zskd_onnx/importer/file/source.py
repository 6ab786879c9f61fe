"""Reading an ONNX file that nobody vouches for.

Every check that guards memory or the file system happens here, before a weight is copied: the
file parses, ``checks`` finds it whole, and no weight is NaN.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.file.checks import check_model
from zskd_onnx.importer.file.fixed_inputs import Fixed, fix_inputs
from zskd_onnx.system.files import expect_file

PROTOBUF_LIMIT = 1 << 31
"""Bytes that protobuf refuses to parse; a larger file is not even read."""


@dataclass(frozen=True)
class Source:
    """An ONNX file as read.

    Attributes:
        path: where it was read from.
        sha256: digest of the .onnx file (external data not included).
        proto: the model, external data not loaded, fixed inputs as constants.
        model: the same as onnx-ir.
        size: bytes of the file and of its external data.
        fixed: the SHA-256 of each input's constant, by name.
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    model: ir.Model
    size: int
    fixed: dict[str, str] = field(default_factory=dict)

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
    expect_file(path, "an ONNX model")
    if path.stat().st_size >= PROTOBUF_LIMIT:
        raise UnsupportedTeacherError(
            f"{path}: an ONNX file is smaller than 2 GiB; export the model with its weights in a second file"
        )
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
    try:
        external = check_model(proto, path.parent)
    except UnsupportedTeacherError as error:
        raise UnsupportedTeacherError(f"{path}: {error}") from error
    digests = fix_inputs(proto, fixed or {})
    for value in proto.graph.output:
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            value.ClearField("type")  # onnx-ir reads no maps; runtimes infer it
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on a malformed graph
        raise UnsupportedTeacherError(
            f"{path}: malformed ONNX graph ({_first_line(error)}); export it again"
        ) from error
    ir.external_data.set_base_dir(model.graph, str(path.parent))
    _check_finite(model, path)
    return Source(path, hashlib.sha256(content).hexdigest(), proto, model, len(content) + external, digests)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__


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
        with np.errstate(all="ignore"):
            broken = np.isnan(array.astype(np.float32, copy=False)).any()
        if broken:
            raise UnsupportedTeacherError(f"{path}: weights '{name}' hold NaN; the training of this model diverged")
