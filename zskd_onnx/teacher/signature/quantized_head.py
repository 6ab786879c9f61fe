"""Final layers that a file computes in integers, as affine maps of real features.

An integer q of a quantised graph stands for scale * (q - zero_point). The backward search for the head
passes from real values to integers at a DequantizeLinear, and back to real values at a QuantizeLinear.
``QuantParams`` holds the scale and zero point of the integers in between. Features that are integers
get a DequantizeLinear of their own, so that they are in real units.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.importer.operators.quantization import aligned, dequantize
from zskd_onnx.teacher.signature.affine import Affine, flat_features, weight_matrix
from zskd_onnx.teacher.signature.constant_arithmetic import Arithmetic
from zskd_onnx.teacher.signature.insert_nodes import insert_before

MICROSOFT = "com.microsoft"

SAME_INTEGERS = frozenset({"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output has the integers of their input, perhaps in another shape."""

QUANTIZED_ACTIVATIONS = {"QLinearSoftmax": "softmax", "QLinearSigmoid": "sigmoid"}
"""Quantised operator at the end of a graph -> kind of the output. Inputs: values, scale, zero point."""

QUANTIZED_ARITHMETIC = frozenset({"QLinearAdd", "QLinearMul"})
"""Quantised operators with inputs a and b, each with scale and zero point, then scale and zero point of the output."""

_ZERO = torch.zeros(())


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of integers q, which stand for scale * (q - zero_point).

    Attributes:
        scale: a constant or a computed value of the graph.
        zero_point: likewise; None for 0.
    """

    scale: ir.Value
    zero_point: ir.Value | None

    def equals(self, other: QuantParams) -> bool:
        """Return whether both have the same values."""
        return _are_equal(self.scale, other.scale) and _are_equal(self.zero_point, other.zero_point)


@dataclass(frozen=True)
class Step:
    """A step backwards over one node.

    Attributes:
        value: the input to continue from.
        params: scale and zero point of its integers; None if it is real.
        arithmetic: the step in real units, if the node adds or multiplies by a constant.
        pooled: whether the node takes a mean over positions.
    """

    value: ir.Value
    params: QuantParams | None
    arithmetic: Arithmetic | None = None
    pooled: bool = False


def step_back(node: ir.Node, params: QuantParams | None) -> Step | None:
    """Step backwards over a quantiser, or over a simple operator on integers.

    Args:
        params: scale and zero point with which the node's output is read; None if it is real.

    Returns:
        None if the node is of another kind, or its output has other parameters than ``params``.
    """
    if is_quantizer(node, "DequantizeLinear"):
        return Step(read_input(node, 0), _params_at(node, 1)) if params is None else None
    if params is None:
        return None
    if is_quantizer(node, "QuantizeLinear"):
        return Step(read_input(node, 0), None) if _params_at(node, 1).equals(params) else None
    if node.domain == "" and node.op_type in SAME_INTEGERS:
        return Step(read_input(node, 0), params)
    if node.domain != MICROSOFT:
        return None
    if node.op_type == "QLinearGlobalAveragePool" and _params_at(node, 3).equals(params):
        return Step(read_input(node, 0), _params_at(node, 1), pooled=True)
    if node.op_type in QUANTIZED_ARITHMETIC and _params_at(node, 6).equals(params):
        for computed, constant in ((0, 3), (3, 0)):
            real = _real_constant(
                node, constant, _constant_input(node, constant + 1), _optional_input(node, constant + 2)
            )
            if real is not None and read_input(node, computed).const_value is None:
                arithmetic = Arithmetic(constant=real) if node.op_type == "QLinearAdd" else Arithmetic(factor=real)
                return Step(read_input(node, computed), _params_at(node, computed + 1), arithmetic)
    return None


def is_quantizer(node: ir.Node, *op_types: str) -> bool:
    """Return whether a node is a QuantizeLinear or DequantizeLinear, of ONNX or of onnxruntime.

    Args:
        op_types: accept only these.
    """
    return node.op_type in (op_types or ("QuantizeLinear", "DequantizeLinear")) and node.domain in ("", MICROSOFT)


def quantized_activation(node: ir.Node) -> tuple[str, ir.Value] | None:
    """Return the output kind of a quantised softmax or sigmoid, and its scores in real units.

    The scores are a new DequantizeLinear before the node. None for any other node.
    """
    if node.domain != MICROSOFT or node.op_type not in QUANTIZED_ACTIVATIONS:
        return None
    return QUANTIZED_ACTIVATIONS[node.op_type], _insert_dequantize(node, read_input(node, 0), _params_at(node, 1))


def quantized_linear(node: ir.Node, params: QuantParams | None) -> Affine | None:
    """Return the affine map that a quantised linear operator computes, or None for any other node.

    Args:
        params: scale and zero point with which the node's output is read; None if it is real.
    """
    match node.domain, node.op_type:
        case ("", "QLinearConv") | ("", "QLinearMatMul") | ("com.microsoft", "QGemm"):
            return _requantized(node, params)
        case "com.microsoft", "DynamicQuantizeMatMul":
            return _dynamic_matmul(node) if params is None else None
        case "com.microsoft", "MatMulIntegerToFloat":
            data = QuantParams(read_input(node, 2), _optional_input(node, 4))
            weight = _real_constant(node, 1, _constant_input(node, 3), _optional_input(node, 5))
            return _affine(node, "MatMul", data, weight, _optional_input(node, 6)) if params is None else None
        case "", "Mul":
            return _scaled_integers(node) if params is None else None
    return None


def _requantized(node: ir.Node, params: QuantParams | None) -> Affine | None:
    """Return the map of QLinearConv, QLinearMatMul or QGemm.

    Their first inputs are a and b, each with scale and zero point.
    """
    op_type = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}[node.op_type]
    index = 7 if op_type == "Gemm" else 6
    output_scale = _optional_input(node, index)
    output = None if output_scale is None else QuantParams(output_scale, _optional_input(node, index + 1))
    if (output is None) != (params is None):
        return None
    if output is not None and params is not None and not output.equals(params):
        return None
    axis = 0 if op_type == "Conv" or (op_type == "Gemm" and attributes(node).get("transB", 0)) else 1
    data, weight_scale = _params_at(node, 1), _constant_input(node, 4)
    affine = _affine(node, op_type, data, _real_constant(node, 3, weight_scale, _optional_input(node, 5), axis))
    bias = _optional_input(node, {"Conv": 8, "Gemm": 6}.get(op_type, len(node.inputs)))
    if affine is None or bias is None:
        return affine
    if weight_scale is None or data.scale.const_value is None or bias.const_value is None:
        return None
    # The bias is in units of both scales. The weight matrix carries alpha, so the bias must too.
    units = tensor_of(data.scale) * weight_scale * attributes(node).get("alpha", 1.0)
    return affine.shifted(tensor_of(bias).float() * units)


def _dynamic_matmul(node: ir.Node) -> Affine | None:
    """Return the map of DynamicQuantizeMatMul.

    The node rounds its real input, so the features are rounded too.
    """
    weight = _real_constant(node, 1, _constant_input(node, 2), _optional_input(node, 3))
    quantizer = ir.node("DynamicQuantizeLinear", [node.inputs[0]], num_outputs=3, name=node.name)
    insert_before(node, quantizer)
    integers, scale, zero_point = quantizer.outputs
    return _affine(node, "MatMul", QuantParams(scale, zero_point), weight, _optional_input(node, 4), integers)


def _scaled_integers(node: ir.Node) -> Affine | None:
    """Return the map of Mul(Cast(MatMulInteger or ConvInteger), scales), which dynamic quantisation writes."""
    for index in (0, 1):
        product = _producer(read_input(node, index))
        if product is None or product.domain != "" or product.op_type not in ("MatMulInteger", "ConvInteger"):
            continue
        weight_scale, data_scale = _constant_and_computed_factor(read_input(node, 1 - index))
        quantizer = _producer(read_input(product, 0))
        if quantizer is None or quantizer.op_type not in ("DynamicQuantizeLinear", "QuantizeLinear"):
            continue
        scale = quantizer.outputs[1] if quantizer.op_type == "DynamicQuantizeLinear" else read_input(quantizer, 1)
        if data_scale is None and scale.const_value is not None:
            weight_scale = weight_scale / tensor_of(scale).float()  # the product held both scales
        elif data_scale is not scale:
            continue
        op_type, axis = ("MatMul", 1) if product.op_type == "MatMulInteger" else ("Conv", 0)
        weight = _real_constant(product, 1, weight_scale.flatten(), _optional_input(product, 3), axis)
        return _affine(product, op_type, QuantParams(scale, _optional_input(product, 2)), weight)
    return None


def _producer(value: ir.Value) -> ir.Node | None:
    """Return the node that computes a value, looking behind casts and reshapes."""
    node = value.producer()
    while node is not None and node.domain == "" and (node.op_type in SAME_INTEGERS or node.op_type == "Cast"):
        node = read_input(node, 0).producer()
    return node


def _constant_and_computed_factor(value: ir.Value) -> tuple[Tensor, ir.Value | None]:
    """Split a value into the product of its constant factors and its computed factor, if it has one."""
    product = torch.ones(())
    while value.const_value is None:
        node = value.producer()
        if node is None or node.domain != "":
            return product, value
        if node.op_type in SAME_INTEGERS:
            value = read_input(node, 0)
            continue
        constants = [i for i in (0, 1) if node.op_type == "Mul" and read_input(node, i).const_value is not None]
        if not constants:
            return product, value
        product = product * tensor_of(read_input(node, constants[0])).float()
        value = read_input(node, 1 - constants[0])
    return product * tensor_of(value).float(), None


def _affine(
    node: ir.Node,
    op_type: str,
    data: QuantParams,
    weight: Tensor | None,
    bias: ir.Value | None = None,
    integers: ir.Value | None = None,
) -> Affine | None:
    """Return the affine map of a linear operator on integers.

    Args:
        op_type: the real operator that it is a variant of, see ``weight_matrix``.
        data: scale and zero point of the integers.
        weight: weights in real units; None gives None.
        bias: bias in real units.
        integers: what the operator multiplies; by default the node's first input.
    """
    matrix = None if weight is None else weight_matrix(op_type, weight, attributes(node))
    one_scale = data.scale.const_value is None or tensor_of(data.scale).numel() == 1
    if weight is None or matrix is None or not one_scale or (bias is not None and bias.const_value is None):
        return None
    features = _insert_dequantize(node, read_input(node, 0) if integers is None else integers, data)
    features = flat_features(node, op_type, weight, features)
    affine = Affine(matrix, None, (features,), describe(node), positions=weight.ndim - 2)
    return affine if bias is None else affine.shifted(tensor_of(bias))


def _real_constant(
    node: ir.Node, index: int, scale: Tensor | None, zero_point: ir.Value | None, axis: int = -1
) -> Tensor | None:
    """Return a constant integer input in real units, or None if it or a parameter is not constant.

    Args:
        scale, zero_point: one number each, or one per position along ``axis``.
    """
    value = read_input(node, index)
    if value.const_value is None or scale is None or (zero_point is not None and zero_point.const_value is None):
        return None
    q = tensor_of(value)
    if scale.numel() != 1 and (q.ndim < 2 or scale.numel() != q.shape[axis]):
        return None
    offset = None if zero_point is None else aligned(tensor_of(zero_point), q, axis)
    return dequantize(q, aligned(scale.float(), q, axis), offset)


def _insert_dequantize(node: ir.Node, integers: ir.Value, params: QuantParams) -> ir.Value:
    """Insert a DequantizeLinear before a node, and return its real output. The node keeps its inputs."""
    dequantizer = ir.node(
        "DequantizeLinear", [integers, params.scale, params.zero_point], domain=MICROSOFT, name=node.name
    )
    return insert_before(node, dequantizer)


def _params_at(node: ir.Node, index: int) -> QuantParams:
    """Return the scale at an input of a node, and the zero point after it."""
    return QuantParams(read_input(node, index), _optional_input(node, index + 1))


def _constant_input(node: ir.Node, index: int) -> Tensor | None:
    """Return a required input if it is constant."""
    value = read_input(node, index)
    return None if value.const_value is None else tensor_of(value)


def _optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input that a node may lack."""
    return node.inputs[index] if index < len(node.inputs) else None


def _are_equal(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Return whether two scales or zero points are the same value, or equal constants; None counts as 0."""
    if a is b:
        return True
    constants = [_ZERO if v is None else None if v.const_value is None else tensor_of(v) for v in (a, b)]
    first, second = constants
    if first is None or second is None or first.numel() != second.numel():
        return False
    return bool((first.float().flatten() == second.float().flatten()).all())
