"""Reading a node: its attributes, constants and implementation, as torch wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.operators.constant import TORCH_DTYPE
from zskd_onnx.importer.operators.host import as_host
from zskd_onnx.importer.operators.registry import Operator, find_operator


def describe(node: ir.Node) -> str:
    """How messages name a node: "node 'conv1' (Conv)"."""
    name = node.name or (node.outputs[0].name if node.outputs else "")
    domain = f"{node.domain}." if node.domain else ""
    return f"node '{name}' ({domain}{node.op_type})"


def operator_of(node: ir.Node, opsets: Mapping[str, int]) -> Operator | None:
    """The implementation of a node at the model's opset, or None."""
    return find_operator(node.domain, node.op_type, opsets.get(node.domain, 1))


def to_torch(tensor: ir.TensorProtocol) -> Tensor:
    """A copy of an ONNX tensor, bfloat16 and half included.

    Raises:
        NotImplementedError: torch has no such element type.
    """
    if tensor.dtype not in TORCH_DTYPE:
        raise NotImplementedError(f"a tensor of type {tensor.dtype.name}")
    array = np.ascontiguousarray(tensor.numpy())
    shape = tuple(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.BFLOAT16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16).reshape(shape)
    return torch.from_numpy(array.copy()).reshape(shape)


def from_torch(tensor: Tensor, name: str | None) -> ir.TensorProtocol:
    """The reverse of ``to_torch``."""
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        return ir.Tensor(tensor.view(torch.int16).numpy().view(ir.DataType.BFLOAT16.numpy()), name=name)
    return ir.Tensor(tensor.numpy(), name=name)


def tensor_of(value: ir.Value) -> Tensor:
    """A constant value as a torch tensor.

    Raises:
        ValueError: the value is not a constant.
    """
    if value.const_value is None:
        raise ValueError(f"'{value.name}' is not a constant")
    return to_torch(value.const_value)


def attributes(node: ir.Node, operator: Operator | None = None) -> dict[str, Any]:
    """A node's attributes as Python values and torch tensors, and ``num_outputs`` where wanted."""
    found: dict[str, Any] = {}
    for name, attribute in node.attributes.items():
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = to_torch(value)
        elif isinstance(value, (list, tuple)):
            value = tuple(value)
        found[name] = value
    if operator is not None and operator.counts_outputs:
        found["num_outputs"] = len(node.outputs)
    return found


def arguments(operator: Operator, tensors: Sequence[Tensor | None], constants: Sequence[Tensor | None]) -> list[Any]:
    """Positional arguments of an operator whose inputs are all constants.

    Args:
        tensors: the inputs as the function should see them (on the meta device, perhaps).
        constants: the same inputs with their values.
    """
    return [
        as_host(c) if c is not None and i in operator.host_inputs else t
        for i, (t, c) in enumerate(zip(tensors, constants, strict=True))
    ]


def read_input(node: ir.Node, index: int) -> ir.Value:
    """An input that a node must have.

    Raises:
        UnsupportedTeacherError: it is left out.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise UnsupportedTeacherError(f"{describe(node)}: input {index} is missing")
    return value
