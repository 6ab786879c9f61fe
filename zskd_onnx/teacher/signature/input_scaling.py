"""What the graph does to its input before the first layer: it tells layout and range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from zskd_onnx.importer.nodes import describe, tensor_of
from zskd_onnx.teacher.signature.domain import LAYOUTS
from zskd_onnx.teacher.signature.quantized_head import is_quantizer

MICROSOFT = "com.microsoft"
CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv", "ConvInteger")
RECURRENT = ("LSTM", "GRU", "RNN")
DEVIATIONS = 3.0
"""Standard deviations either side of the mean that a standardised feature is taken to cover."""


@dataclass
class FirstLayers:
    """The way of the input to the first layer: y = scale * x + shift.

    Attributes:
        layout: what the first layer implies, and the node that does.
        scale, shift: one number for each channel or for all; None where nothing scales.
        node: the node that scales, or quantises.
        quantised: bounds of the input that a quantiser keeps, as calibration found them.
    """

    layout: str | None = None
    layout_node: str = ""
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    node: str = ""
    quantised: tuple[np.ndarray, np.ndarray] | None = None

    def image_range(self) -> tuple[float, float] | None:
        """The raw range that the scaling brings near [0, 1], [-1, 1] or unit variance."""
        if self.scale is None or self.shift is None:
            return None
        for high in (255.0, 1.0):
            ends = np.stack(np.broadcast_arrays(self.shift, self.scale * high + self.shift))
            if np.abs(ends).max() <= 4 and np.abs(ends[1] - ends[0]).min() >= 0.5:
                return 0.0, high
        if np.abs(self.shift).max() > 50:  # Caffe's models subtract a mean near 110 and do not scale
            return 0.0, 255.0
        return None

    def standardised_range(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Bounds of each feature, where the scaling makes its mean 0 and its deviation 1."""
        if self.scale is None or self.shift is None or (self.scale == 0).any():
            return None
        ends = np.stack([(end - self.shift) / self.scale for end in (-DEVIATIONS, DEVIATIONS)])
        return ends.min(axis=0), ends.max(axis=0)


def follow_input(value: ir.Value, sample: tuple[int, ...]) -> FirstLayers:
    """Follow an input; constants count that are one number, or one for each channel.

    Args:
        sample: shape of one sample in the file's order.
    """
    rank = len(sample) + 1
    found = FirstLayers()
    scale, shift = np.ones(1), np.zeros(1)
    first, last = LAYOUTS[rank][0], LAYOUTS[rank][-1]
    to_front = (0, rank - 1, *range(1, rank - 1))
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0].node, uses[0].idx
        if node.domain not in ("", MICROSOFT):
            break  # what is called Add elsewhere may be anything
        if is_quantizer(node, "QuantizeLinear") and (ends := _quantised_range(node)) and (scale != 0).all():
            bounds = np.stack([(end - shift) / scale for end in ends])
            found.quantised, found.node = (bounds.min(axis=0), bounds.max(axis=0)), describe(node)
        if node.op_type == "Transpose" and "perm" in node.attributes:
            if tuple(node.attributes["perm"].value) == to_front and rank > 2:
                found.layout, found.layout_node = last, describe(node)
        elif node.op_type in ("Add", "Sub", "Mul", "Div") and node.domain == "":
            other = node.inputs[1 - index]
            if other is None or other.const_value is None or (index == 1 and node.op_type in ("Sub", "Div")):
                break
            constant = other.const_value.numpy().astype(np.float64).reshape(-1)
            if constant.size not in (1, sample[0], sample[-1]) or (node.op_type == "Div" and (constant == 0).any()):
                break
            if node.op_type in ("Add", "Sub"):
                shift = shift + (constant if node.op_type == "Add" else -constant)
            else:
                factor = constant if node.op_type == "Mul" else 1 / constant
                scale, shift = scale * factor, shift * factor
            found.scale, found.shift, found.node = scale, shift, found.node or describe(node)
        elif node.op_type in CONVOLUTIONS or (rank == 3 and node.op_type in (*RECURRENT, "MatMul", "Gemm")):
            if found.layout is None:
                found.layout = first if node.op_type in CONVOLUTIONS else last
                found.layout_node = describe(node)
            break
        elif node.op_type not in ("Cast", "Identity", "DynamicQuantizeLinear") and not is_quantizer(node):
            break
        value = node.outputs[0]
    return found


def _quantised_range(node: ir.Node) -> tuple[float, float] | None:
    """The real values at both ends of a quantiser for the whole tensor."""
    parameters = [value.const_value for value in node.inputs[1:3] if value is not None]
    if len(parameters) < 2 or any(tensor is None for tensor in parameters):
        return None
    step, offset = (tensor_of(value) for value in node.inputs[1:3] if value is not None)
    if step.numel() != 1 or offset.numel() != 1 or offset.dtype.is_floating_point:
        return None
    limits = torch.iinfo(offset.dtype)
    low, high = (float(step) * (end - int(offset)) for end in (limits.min, limits.max))
    return (low, high) if -math.inf < low < high < math.inf else None
