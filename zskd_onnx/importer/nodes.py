"""Read ONNX nodes: their names, attributes, constants and implementations, as torch needs them."""

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
    """The name of a node in messages: "node 'conv1' (Conv)".

    A node without a name is called by its first output. The operator's domain is shown unless it
    is ai.onnx.
    """
    name = node.name or (node.outputs[0].name if node.outputs else "")
    domain = f"{node.domain}." if node.domain else ""
    return f"node '{name}' ({domain}{node.op_type})"


def operator_of(node: ir.Node, opsets: Mapping[str, int]) -> Operator | None:
    """The implementation of a node's operator, or None if it is not supported.

    Args:
        node: the node.
        opsets: operator domain -> opset version, as the model imports them.
    """
    return find_operator(node.domain, node.op_type, opsets.get(node.domain, 1))


def to_torch(tensor: ir.TensorProtocol) -> Tensor:
    """A copy of an ONNX tensor, with the same shape and element type.

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
    """A torch tensor as an ONNX tensor, with the same shape and element type."""
    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        return ir.Tensor(tensor.view(torch.int16).numpy().view(ir.DataType.BFLOAT16.numpy()), name=name)
    return ir.Tensor(tensor.numpy(), name=name)


def tensor_of(value: ir.Value) -> Tensor:
    """A constant value as a torch tensor.

    Raises:
        ValueError: the value is not a constant.
        NotImplementedError: torch has no such element type.
    """
    if value.const_value is None:
        raise ValueError(f"'{value.name}' is not a constant")
    return to_torch(value.const_value)


def attributes(node: ir.Node, operator: Operator | None = None) -> dict[str, Any]:
    """The attributes of a node, as Python values and torch tensors.

    Args:
        node: the node.
        operator: its implementation. If that counts outputs, the result has ``num_outputs`` too.

    Raises:
        NotImplementedError: a tensor has an element type that torch does not have.
    """
    values: dict[str, Any] = {}
    for name, attribute in node.attributes.items():
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = to_torch(value)
        elif isinstance(value, (list, tuple)):
            value = tuple(value)
        values[name] = value
    if operator is not None and operator.counts_outputs:
        values["num_outputs"] = len(node.outputs)
    return values


def arguments(operator: Operator, tensors: Sequence[Tensor | None], constants: Sequence[Tensor | None]) -> list[Any]:
    """Positional arguments for an operator whose inputs are all constants.

    Args:
        operator: the implementation.
        tensors: the inputs as the function gets them, for example on the meta device.
        constants: the same inputs with their values, for those that must be Python numbers.
    """
    return [
        as_host(c) if c is not None and i in operator.host_inputs else t
        for i, (t, c) in enumerate(zip(tensors, constants, strict=True))
    ]


def read_input(node: ir.Node, index: int) -> ir.Value:
    """A required input of a node.

    Raises:
        UnsupportedTeacherError: the input is missing.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise UnsupportedTeacherError(
            f"{describe(node)}: input {index} is missing; the file is damaged, export it again"
        )
    return value
