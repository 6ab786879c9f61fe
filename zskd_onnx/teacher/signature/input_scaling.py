"""Scaling at the start of the graph, which shows the layout and the range of the input."""

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
"""Half the width of a standardised feature's range, in standard deviations."""


@dataclass
class InputScaling:
    """The operations between the input x and the first layer, y = scale * x + shift.

    Attributes:
        layout: layout that the first layer requires, or None.
        layout_node: the node that requires it, as messages name it.
        scale: one number per channel or one for all, or None without scaling.
        shift: likewise.
        node: the node that scales or quantises, as messages name it.
        quantised: lowest and highest input that a quantiser can represent, each one number per
            channel or one for all; None without a quantiser. Calibration chose them.
    """

    layout: str | None = None
    layout_node: str = ""
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    node: str = ""
    quantised: tuple[np.ndarray, np.ndarray] | None = None

    def image_range(self) -> tuple[float, float] | None:
        """Return the raw range, 0..255 or 0..1, that the scaling maps near [0, 1], [-1, 1] or unit variance."""
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
        """Return the range of each feature: its mean plus and minus ``DEVIATIONS`` standard deviations.

        This takes the scaling to standardise: to give each feature mean 0 and standard deviation 1.
        """
        if self.scale is None or self.shift is None or (self.scale == 0).any():
            return None
        ends = np.stack([(end - self.shift) / self.scale for end in (-DEVIATIONS, DEVIATIONS)])
        return ends.min(axis=0), ends.max(axis=0)


def trace_input_scaling(value: ir.Value, sample: tuple[int, ...]) -> InputScaling:
    """Follow the input forwards to the first layer, and collect the scaling on the way.

    Only constants with one number, or one number per channel, count as scaling.

    Args:
        value: the input.
        sample: shape of one sample in the file's layout.
    """
    rank = len(sample) + 1
    scaling = InputScaling()
    scale, shift = np.ones(1), np.zeros(1)
    channels_first, channels_last = LAYOUTS[rank][0], LAYOUTS[rank][-1]
    last_to_first = (0, rank - 1, *range(1, rank - 1))
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0].node, uses[0].idx
        if node.domain not in ("", MICROSOFT):
            break  # an operator called Add in another domain may compute anything
        if is_quantizer(node, "QuantizeLinear") and (ends := _quantised_range(node)) and (scale != 0).all():
            bounds = np.stack([(end - shift) / scale for end in ends])
            scaling.quantised, scaling.node = (bounds.min(axis=0), bounds.max(axis=0)), describe(node)
        if node.op_type == "Transpose" and "perm" in node.attributes:
            if tuple(node.attributes["perm"].value) == last_to_first and rank > 2:
                scaling.layout, scaling.layout_node = channels_last, describe(node)
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
            scaling.scale, scaling.shift, scaling.node = scale, shift, scaling.node or describe(node)
        elif node.op_type in CONVOLUTIONS or (rank == 3 and node.op_type in (*RECURRENT, "MatMul", "Gemm")):
            if scaling.layout is None:
                scaling.layout = channels_first if node.op_type in CONVOLUTIONS else channels_last
                scaling.layout_node = describe(node)
            break
        elif node.op_type not in ("Cast", "Identity", "DynamicQuantizeLinear") and not is_quantizer(node):
            break
        value = node.outputs[0]
    return scaling


def _quantised_range(node: ir.Node) -> tuple[float, float] | None:
    """Return the real values of a quantiser's lowest and highest integer.

    None for scales that are not constant or differ between channels, and without an integer zero point.
    """
    parameters = [value.const_value for value in node.inputs[1:3] if value is not None]
    if len(parameters) < 2 or any(tensor is None for tensor in parameters):
        return None
    scale, zero_point = (tensor_of(value) for value in node.inputs[1:3] if value is not None)
    if scale.numel() != 1 or zero_point.numel() != 1 or zero_point.dtype.is_floating_point:
        return None
    limits = torch.iinfo(zero_point.dtype)
    low, high = (float(scale) * (end - int(zero_point)) for end in (limits.min, limits.max))
    return (low, high) if -math.inf < low < high < math.inf else None
