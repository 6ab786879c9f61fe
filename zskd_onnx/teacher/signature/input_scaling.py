"""Scaling at the start of the graph, which shows the layout and the range of the input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from zskd_onnx.importer.nodes import describe, tensor_of
from zskd_onnx.teacher.signature.domain import LAYOUTS
from zskd_onnx.teacher.signature.follow_input import follow_input
from zskd_onnx.teacher.signature.input_view import View
from zskd_onnx.teacher.signature.quantized_head import is_quantizer

CHANNEL_AXIS = dict.fromkeys(("Conv", "FusedConv", "QLinearConv", "ConvInteger", "BatchNormalization"), 1)
"""Layer -> the axis of its input that holds channels."""

SEQUENCE_CHANNEL_AXIS = dict.fromkeys(("LSTM", "GRU", "RNN", "MatMul", "Gemm"), -1)
"""The same for layers that show the layout of sequences only."""

ORDERED = ("Conv", "FusedConv", "QLinearConv", "ConvInteger", "LSTM", "GRU", "RNN", "STFT", "DFT")
"""Layers whose input has an order: a signal or an image. The features of a vector have none."""

ASKS_FOR_SIZE = ("Shape", "Size")
"""Operators that read no values."""

MICROSOFT = "com.microsoft"

DEVIATIONS = 3.0
"""Half the width of a standardised feature's range, in standard deviations."""


@dataclass
class InputScaling:
    """The operations between the input x and the first layer, y = scale * x + shift.

    Attributes:
        ordered_at: the first layer if it is one of ``ORDERED`` and the input a vector, as messages name it; empty otherwise.
        layout: layout that the first layer requires, or None.
        layout_node: the node that requires it, as messages name it.
        scale: one number per channel or one for all, or None without scaling.
        shift: likewise.
        node: the first node that scales, as messages name it.
        quantised: lowest and highest input that a quantiser can represent, each one number per
            channel or one for all; calibration chose them. None without a quantiser, and where the scaling shows a range.
        quantiser: the node that quantises, as messages name it.
    """

    ordered_at: str = ""
    layout: str | None = None
    layout_node: str = ""
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    node: str = ""
    quantised: tuple[np.ndarray, np.ndarray] | None = None
    quantiser: str = ""

    def scaled_range(self, dimensions: int) -> tuple[object, object] | None:
        """Return the lowest and the highest input that the scaling shows, one number or one per feature; None without.

        A vector that is only divided, as 0..255 is by 255, is no standardised one.

        Args:
            dimensions: of one sample.
        """
        if dimensions == 1 and (self.scale is None or self.shift is None or self.shift.any() or np.ptp(self.scale) > 0):
            return self.standardised_range()
        return self.image_range()

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
    """Follow the input to the first layers, and collect the layout and the scaling that all of them show.

    Constants count as scaling if they have one number, or one per channel. Scaling that changes nothing does not.

    Args:
        value: the input.
        sample: shape of one sample in the file's layout.
    """
    views = follow_input(value, sample)
    ends = [
        _End(use.node, view, _channel_axis(use.node, use.idx, sample))
        for moved, view in views.items()
        for use in moved.uses()
        if use.node.op_type not in ASKS_FOR_SIZE and not any(output in views for output in use.node.outputs)
    ]
    ends = [end for end in ends if end.channel_axis is not None] or ends
    scaling = InputScaling()
    if len(sample) == 1:
        scaling.ordered_at = next((describe(end.node) for end in ends if end.node.op_type in ORDERED), "")
    _read_layout(scaling, views, ends, sample)
    _read_scale(scaling, ends, sample)
    if scaling.scaled_range(len(sample)) is None:
        _read_quantiser(scaling, views, sample)
    return scaling


@dataclass(frozen=True)
class _End:
    """A node that uses the moved and scaled input for something else.

    Attributes:
        view: what the node gets.
        channel_axis: the axis in which the node expects the channels of this input; None if it does not show that.
    """

    node: ir.Node
    view: View
    channel_axis: int | None


def _channel_axis(node: ir.Node, index: int, sample: Sequence[int]) -> int | None:
    if index != 0 or node.domain not in ("", MICROSOFT):
        return None
    axes = CHANNEL_AXIS | (SEQUENCE_CHANNEL_AXIS if len(sample) == 2 else {})
    return axes.get(node.op_type)


def _read_layout(
    scaling: InputScaling, views: Mapping[ir.Value, View], ends: Sequence[_End], sample: Sequence[int]
) -> None:
    """Read the layout from the axis that becomes the first layers' channels, or from a transposition to channels first."""
    rank = len(sample) + 1
    first, last = LAYOUTS[rank][0], LAYOUTS[rank][-1]
    last_to_first = [0, rank - 1, *range(1, rank - 1)]
    layouts = set()
    for end in ends:
        origins = [axis.origin for axis in end.view.axes]
        if end.channel_axis is not None:
            layouts.add({1: first, rank - 1: last}.get(origins[end.channel_axis] or 0))
        else:  # of a sequence, a transposition does not tell which of two axes holds channels
            layouts.add(last if rank > 3 and origins == last_to_first else None)
    if rank > 2 and len(layouts) == 1 and (layout := layouts.pop()):
        node = ends[0].node
        for value, view in views.items():
            producer = value.producer()
            moved = [axis.origin for axis in view.axes] == last_to_first
            if producer is not None and producer.op_type == "Transpose" and moved and layout == last:
                node = producer
        scaling.layout, scaling.layout_node = layout, describe(node)


def _read_scale(scaling: InputScaling, ends: Sequence[_End], sample: Sequence[int]) -> None:
    """Read the scaling that all first layers have."""
    scales = [end.view.to_input(end.view.scale, sample) for end in ends]
    shifts = [end.view.to_input(end.view.shift, sample) for end in ends]
    scale, shift = _common(scales), _common(shifts)
    if scale is not None and shift is not None and not ((scale == 1).all() and (shift == 0).all()):
        scaling.scale, scaling.shift, scaling.node = scale, shift, ends[0].view.scaled_at


def _common(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the first array if all are equal to it."""
    first = arrays[0] if arrays else None
    return first if first is not None and all(a is not None and np.array_equal(a, first) for a in arrays) else None


def _read_quantiser(scaling: InputScaling, views: Mapping[ir.Value, View], sample: Sequence[int]) -> None:
    """Read the range of the first quantiser."""
    for value, view in views.items():
        for node in [use.node for use in value.uses() if use.idx == 0 and is_quantizer(use.node, "QuantizeLinear")]:
            scale, shift = (view.to_input(numbers, sample) for numbers in (view.scale, view.shift))
            ends = _quantised_range(node)
            if ends and scale is not None and shift is not None and (scale != 0).all():
                bounds = np.stack([(end - shift) / scale for end in ends])
                scaling.quantised, scaling.quantiser = (bounds.min(axis=0), bounds.max(axis=0)), describe(node)
                return


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
