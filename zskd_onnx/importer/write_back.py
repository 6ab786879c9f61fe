"""Write trained weights back into the file that they were imported from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import torch
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model
from torch import Tensor

from zskd_onnx.errors import UsageError, ZskdError
from zskd_onnx.importer.file.checks import check_model
from zskd_onnx.importer.file.source import ORIGIN, PROTOBUF_LIMIT, Origin
from zskd_onnx.importer.file.stored_tensors import tensors_of
from zskd_onnx.importer.fx_graph import ImportedModel
from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.system.files import atomic_write, expect_file, expect_parent


def write_back(module: ImportedModel, path: str | Path) -> None:
    """Write a copy of the file that a module was imported from, with the module's weights and running statistics.

    Nothing else changes: names, layouts, opset, all inputs and outputs, metadata and nodes stay as they are.
    Each weight keeps its element type, so half precision is rounded. External weights are written inside
    the new file.

    Args:
        module: from ``import_onnx`` with ``trainable=True``.
        path: the new file; its folder must exist.

    Raises:
        UsageError: the module is not trainable, the file changed since the import, ``path`` is that file
            or no file can be there, or the new file would reach 2 GiB.
        ZskdError: weights are NaN or infinite in the file's element type.
    """
    path = Path(path)
    expect_parent(path, "path")
    model = updated_model(module)
    source = module.meta[ORIGIN].path
    if path.exists() and path.samefile(source):
        raise UsageError(f"path {path}: is the file that the module was imported from; choose another path")
    content = model.SerializeToString(deterministic=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def updated_model(module: ImportedModel) -> ModelProto:
    """The file that a module was imported from, with the module's weights and running statistics.

    Args:
        module: a trainable import, or a part of one; other tensors keep their values.

    Raises:
        UsageError, ZskdError: as for ``write_back``.
    """
    if not module.initializers:
        raise UsageError("the module has no trainable weights to write back; import the file with trainable=True")
    return with_weights(read_original(module.meta[ORIGIN]), module)


def with_weights(model: ModelProto, module: ImportedModel) -> ModelProto:
    """A model with a module's weights and running statistics, in place.

    Args:
        model: the model that the module was imported from, or a copy, with external data inside.
        module: a trainable import, or a part of one.

    Raises:
        ZskdError: weights are NaN or infinite in the model's element type.
    """
    stored = tensors_of(model)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for key, name in module.initializers.items():
        if key in state:
            _store(stored[name], name, state[key].detach().cpu())
    return model


def read_original(origin: Origin) -> ModelProto:
    """The file as it was imported, with external data inside."""
    path = origin.path
    expect_file(path, "the ONNX model that the module was imported from")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != origin.sha256:
        raise UsageError(f"{path}: the file changed since it was imported; import it again")
    model = onnx.load_model_from_string(content)
    try:
        external = check_model(model, path.parent)
        if len(content) + external < PROTOBUF_LIMIT:
            load_external_data_for_model(model, str(path.parent))
            return model
    except Exception as error:  # the data file was moved or cut since the import
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise UsageError(f"{path}: its external data cannot be read again ({reason}); import it again") from error
    raise UsageError(
        f"{path}: with its external data inside, the new file would reach 2 GiB, which protobuf cannot write; "
        "give a model with smaller weights"
    )


def _store(target: TensorProto | AttributeProto, name: str, tensor: Tensor) -> None:
    """Put the values of a tensor into an initialiser or an attribute of a Constant node, unless they are there."""
    if isinstance(target, AttributeProto) and target.type == AttributeProto.FLOATS:
        numbers = _in_type(tensor, torch.float32, name).tolist()
        if numbers != list(target.floats):
            target.floats[:] = numbers
        return
    proto = target.t if isinstance(target, AttributeProto) else target
    content = _bytes(_in_type(tensor, TORCH_DTYPE[proto.data_type], name))
    if numpy_helper.to_array(proto).tobytes() == content:
        return
    for field in ("float_data", "double_data", "int32_data"):
        proto.ClearField(field)
    proto.raw_data = content


def _in_type(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    converted = tensor.to(dtype)
    if not torch.isfinite(converted).all():
        raise ZskdError(
            f"weights '{name}' are NaN or infinite as {str(dtype).removeprefix('torch.')}, as after a training that "
            "diverged; train with a lower learning rate"
        )
    return converted


def _bytes(tensor: Tensor) -> bytes:
    """The values in row-major order."""
    bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor  # numpy has no bfloat16
    return bits.numpy().tobytes()
