"""Final layers that a file computes in integers: what their numbers stand for.

An integer q of a quantised graph stands for scale * (q - zero point). The walk that looks for
the head passes from real values to integers at DequantizeLinear and back at QuantizeLinear;
``Grid`` is what it knows of the integers in between. Where the features are integers, a
DequantizeLinear is put beside the graph that gives them in real units.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.importer.nodes import attributes, describe, read_input, tensor_of
from zskd_onnx.importer.operators.quantization import aligned, dequantize
from zskd_onnx.teacher.signature.affine import Affine, rows_of

MICROSOFT = "com.microsoft"
SAME_INTEGERS = frozenset({"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
ENDINGS = {"QLinearSoftmax": "softmax", "QLinearSigmoid": "sigmoid"}
"""Quantised operators that make probabilities; input: values, their scale, their zero point."""

_ARITHMETIC = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
_WITHOUT_ZERO = torch.zeros(())


@dataclass(frozen=True)
class Grid:
    """What integers stand for: scale * (q - zero point)."""

    scale: ir.Value
    zero: ir.Value | None

    def same(self, other: Grid) -> bool:
        return _equal(self.scale, other.scale) and _equal(self.zero, other.zero)


@dataclass(frozen=True)
class Step:
    """One node walked back over.

    Attributes:
        value: the input to go on from.
        grid: what its integers stand for; None where it is real.
        applied: "Add" or "Mul", and the constant that the node applied.
        pooled: whether it took a mean over positions.
    """

    value: ir.Value
    grid: Grid | None
    applied: tuple[str, Tensor] | None = None
    pooled: bool = False


def step_back(node: ir.Node, grid: Grid | None) -> Step | None:
    """Walk back over a node that hands values on between reals and integers, or within integers.

    Args:
        grid: what the node's result stands for; None where it is real.

    Returns:
        None where the node does something else, or means other values than ``grid`` says.
    """
    if is_quantizer(node, "DequantizeLinear"):
        return Step(read_input(node, 0), _grid(node, 1)) if grid is None else None
    if grid is None:
        return None
    if is_quantizer(node, "QuantizeLinear"):
        return Step(read_input(node, 0), None) if _grid(node, 1).same(grid) else None
    if node.domain == "" and node.op_type in SAME_INTEGERS:
        return Step(read_input(node, 0), grid)
    if node.domain != MICROSOFT:
        return None
    if node.op_type == "QLinearGlobalAveragePool" and _grid(node, 3).same(grid):
        return Step(read_input(node, 0), _grid(node, 1), pooled=True)
    if node.op_type in _ARITHMETIC and _grid(node, 6).same(grid):
        for data, other in ((0, 3), (3, 0)):
            constant = _matrix(node, other, _known(node, other + 1), _optional(node, other + 2))
            if constant is not None and read_input(node, data).const_value is None:
                return Step(read_input(node, data), _grid(node, data + 1), (_ARITHMETIC[node.op_type], constant))
    return None


def is_quantizer(node: ir.Node, *op_types: str) -> bool:
    """Whether a node is one of QuantizeLinear and DequantizeLinear, of ONNX or of onnxruntime."""
    return node.op_type in (op_types or ("QuantizeLinear", "DequantizeLinear")) and node.domain in ("", MICROSOFT)


def quantized_ending(node: ir.Node) -> tuple[str, ir.Value] | None:
    """The kind of a quantised softmax or sigmoid, and its scores in real units."""
    if node.domain != MICROSOFT or node.op_type not in ENDINGS:
        return None
    return ENDINGS[node.op_type], _real(node, read_input(node, 0), _grid(node, 1))


def quantized_linear(node: ir.Node, grid: Grid | None) -> Affine | None:
    """The affine map that a quantised linear operator computes.

    Args:
        grid: what the node's result stands for; None where it is real.
    """
    match node.domain, node.op_type:
        case ("", "QLinearConv") | ("", "QLinearMatMul") | ("com.microsoft", "QGemm"):
            return _requantized(node, grid)
        case "com.microsoft", "DynamicQuantizeMatMul":
            return _dynamic_matmul(node) if grid is None else None
        case "com.microsoft", "MatMulIntegerToFloat":
            data = Grid(read_input(node, 2), _optional(node, 4))
            weight = _matrix(node, 1, _known(node, 3), _optional(node, 5))
            return _affine(node, "MatMul", data, weight, _optional(node, 6)) if grid is None else None
        case "", "Mul":
            return _scaled_integers(node) if grid is None else None
    return None


def _requantized(node: ir.Node, grid: Grid | None) -> Affine | None:
    """QLinearConv, QLinearMatMul and QGemm: (a, scale, zero, b, scale, zero, ...)."""
    kind = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}[node.op_type]
    place = 7 if kind == "Gemm" else 6
    ends = Grid(made, _optional(node, place + 1)) if (made := _optional(node, place)) is not None else None
    if (ends is None) != (grid is None) or (ends is not None and grid is not None and not ends.same(grid)):
        return None
    axis = 0 if kind == "Conv" or (kind == "Gemm" and attributes(node).get("transB", 0)) else 1
    data, scale = _grid(node, 1), _known(node, 4)
    found = _affine(node, kind, data, _matrix(node, 3, scale, _optional(node, 5), axis))
    bias = _optional(node, {"Conv": 8, "Gemm": 6}.get(kind, len(node.inputs)))
    if found is None or bias is None:
        return found
    if scale is None or data.scale.const_value is None or bias.const_value is None:
        return None
    # In units of both scales; the weights' rows carry alpha, and so must the bias.
    units = tensor_of(data.scale) * scale * attributes(node).get("alpha", 1.0)
    return found.shifted(tensor_of(bias).float() * units)


def _dynamic_matmul(node: ir.Node) -> Affine | None:
    """DynamicQuantizeMatMul rounds its real input first: so must the features."""
    weight = _matrix(node, 1, _known(node, 2), _optional(node, 3))
    made = ir.node("DynamicQuantizeLinear", [node.inputs[0]], num_outputs=3, name=node.name)
    _name_after(made, node)
    assert node.graph is not None
    node.graph.insert_before(node, made)
    integers, scale, zero = made.outputs
    return _affine(node, "MatMul", Grid(scale, zero), weight, _optional(node, 4), integers)


def _scaled_integers(node: ir.Node) -> Affine | None:
    """Mul(Cast(MatMulInteger or ConvInteger), scales), as dynamic quantisation writes it."""
    for place in (0, 1):
        product = _maker(read_input(node, place))
        if product is None or product.domain != "" or product.op_type not in ("MatMulInteger", "ConvInteger"):
            continue
        constant, dynamic = _factors(read_input(node, 1 - place))
        data = read_input(product, 0)
        quantizer = _maker(data)
        if quantizer is None or quantizer.op_type not in ("DynamicQuantizeLinear", "QuantizeLinear"):
            continue
        scale = quantizer.outputs[1] if quantizer.op_type == "DynamicQuantizeLinear" else read_input(quantizer, 1)
        if dynamic is None and scale.const_value is not None:
            constant = constant / tensor_of(scale).float()
        elif dynamic is not scale:
            continue
        kind, axis = ("MatMul", 1) if product.op_type == "MatMulInteger" else ("Conv", 0)
        weight = _matrix(product, 1, constant.flatten(), _optional(product, 3), axis)
        return _affine(product, kind, Grid(scale, _optional(product, 2)), weight)
    return None


def _maker(value: ir.Value) -> ir.Node | None:
    """The node that computes a value, whatever its shape and type."""
    node = value.producer()
    while node is not None and node.domain == "" and (node.op_type in SAME_INTEGERS or node.op_type == "Cast"):
        node = read_input(node, 0).producer()
    return node


def _factors(value: ir.Value) -> tuple[Tensor, ir.Value | None]:
    """A value as a product of constants and at most one computed value."""
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
    kind: str,
    data: Grid,
    weight: Tensor | None,
    bias: ir.Value | None = None,
    integers: ir.Value | None = None,
) -> Affine | None:
    """An affine map of integers, the node's first input by default, with real weights and a real bias."""
    rows = None if weight is None else rows_of(kind, weight, attributes(node))
    one_scale = data.scale.const_value is None or tensor_of(data.scale).numel() == 1
    if rows is None or not one_scale or (bias is not None and bias.const_value is None):
        return None
    features = _real(node, read_input(node, 0) if integers is None else integers, data)
    found = Affine(rows, None, (features,), describe(node), each_position=kind == "Conv")
    return found if bias is None else found.shifted(tensor_of(bias))


def _matrix(node: ir.Node, index: int, scale: Tensor | None, zero: ir.Value | None, axis: int = -1) -> Tensor | None:
    """A constant input in real units; scale and zero point are one number, or one for each place on an axis."""
    value = read_input(node, index)
    if value.const_value is None or scale is None or (zero is not None and zero.const_value is None):
        return None
    q = tensor_of(value)
    if scale.numel() != 1 and (q.ndim < 2 or scale.numel() != q.shape[axis]):
        return None
    offset = None if zero is None else aligned(tensor_of(zero), q, axis)
    return dequantize(q, aligned(scale.float(), q, axis), offset)


def _known(node: ir.Node, index: int) -> Tensor | None:
    """An input that must be there, if it is constant."""
    value = read_input(node, index)
    return None if value.const_value is None else tensor_of(value)


def _real(node: ir.Node, integers: ir.Value, grid: Grid) -> ir.Value:
    """Integers in real units, computed beside the graph, before ``node``."""
    made = ir.node("DequantizeLinear", [integers, grid.scale, grid.zero], domain=MICROSOFT, name=node.name)
    _name_after(made, node)
    assert node.graph is not None
    node.graph.insert_before(node, made)
    return made.outputs[0]


def _name_after(made: ir.Node, node: ir.Node) -> None:
    for i, value in enumerate(made.outputs):
        value.name = f"{node.outputs[0].name}_{made.op_type}_{i}"


def _grid(node: ir.Node, place: int) -> Grid:
    return Grid(read_input(node, place), _optional(node, place + 1))


def _optional(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


def _equal(a: ir.Value | None, b: ir.Value | None) -> bool:
    if a is b:
        return True
    constants = [_WITHOUT_ZERO if v is None else None if v.const_value is None else tensor_of(v) for v in (a, b)]
    first, second = constants
    if first is None or second is None or first.numel() != second.numel():
        return False
    return bool((first.float().flatten() == second.float().flatten()).all())
