"""Read an ONNX file that may be damaged or hostile.

All checks that protect memory and the file system run here, before a weight is copied. The file
must parse, ``checks.check_model`` must accept it, and no weight may be NaN.
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
from zskd_onnx.importer.file.open_sizes import free_open_sizes
from zskd_onnx.importer.file.runtime_versions import check_runtime_versions
from zskd_onnx.importer.file.stored_tensors import tensors_of
from zskd_onnx.importer.file.subgraph import drop_unused_inputs
from zskd_onnx.system.files import expect_file

PROTOBUF_LIMIT = 1 << 31
"""Size in bytes from which protobuf refuses a file; such a file is not read at all."""

ORIGIN = "origin"
"""Key of ``model.meta`` and of an imported module's ``meta``: its ``Origin``."""


@dataclass(frozen=True)
class Origin:
    """The file that a model was read from.

    Attributes:
        path: where the file is.
        sha256: digest of the .onnx file, without external data.
        tensors: names of the tensors in its main graph: initialisers, and outputs of Constant nodes.
    """

    path: Path
    sha256: str
    tensors: frozenset[str]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was read and checked.

    Attributes:
        path: where the file is.
        sha256: digest of the .onnx file, without external data.
        proto: the model as protobuf. Fixed inputs are constants, and inputs without use are dropped;
            external data is not loaded.
        model: the same model as onnx-ir.
        size: bytes of the file and of the external data that it uses.
        fixed: name of a fixed input -> the SHA-256 of its constant.
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    model: ir.Model
    size: int
    fixed: dict[str, str] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the ai.onnx operators that the file uses; 0 if it uses none."""
        return self.model.opset_imports.get("", 0)


def read_onnx_file(path: str | Path, fixed: Fixed | None = None) -> OnnxFile:
    """Read and check an ONNX file.

    Args:
        path: the .onnx file. External weights must be in its folder.
        fixed: name of an input -> its constant, see ``fix_inputs``.

    Raises:
        UsageError: there is no such file, or a constant does not fit its input.
        UnsupportedTeacherError: the file is not ONNX, is damaged, refers to data outside its
            folder, is newer than the installed onnxruntime supports, or has weights that are NaN.
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
        raise UnsupportedTeacherError(f"{path}: not an ONNX model (it has no graph); export it again")
    try:
        external = check_model(proto, path.parent)
        check_runtime_versions(proto)
    except UnsupportedTeacherError as error:
        raise UnsupportedTeacherError(f"{path}: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    origin = Origin(path, digest, frozenset(tensors_of(proto)))
    free_open_sizes(proto)
    unused = drop_unused_inputs(proto)
    digests = fix_inputs(proto, {name: value for name, value in (fixed or {}).items() if name not in unused})
    for value in proto.graph.output:
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            value.ClearField("type")  # onnx-ir cannot read map types, and runtimes infer the type
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on a malformed graph
        raise UnsupportedTeacherError(
            f"{path}: malformed ONNX graph ({_first_line(error)}); export it again"
        ) from error
    ir.external_data.set_base_dir(model.graph, str(path.parent))
    model.meta[ORIGIN] = origin
    _check_finite(model, path)
    return OnnxFile(path, digest, proto, model, len(content) + external, digests)


def present_inputs(path: Path, fixed: Fixed | None) -> Fixed:
    """Those of the constants whose input a file has; the file is read and checked."""
    if not fixed:
        return {}
    names = {value.name for value in read_onnx_file(path).proto.graph.input}
    return {name: value for name, value in fixed.items() if name in names}


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
            raise UnsupportedTeacherError(
                f"{path}: tensor '{name}' cannot be read ({_first_line(error)}); export the model again"
            ) from error
        # Infinities are legal constants (attention masks); NaN never is.
        with np.errstate(all="ignore"):
            has_nan = np.isnan(array.astype(np.float32, copy=False)).any()
        if has_nan:
            raise UnsupportedTeacherError(
                f"{path}: weights '{name}' contain NaN, as after a training that diverged; "
                "export a model with finite weights"
            )
