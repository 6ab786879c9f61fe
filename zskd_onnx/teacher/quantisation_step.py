"""The quantisation step of a value: how far rounding lets two runtimes differ in a quantised file."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from zskd_onnx.importer.nodes import read_input, tensor_of
from zskd_onnx.teacher.signature.head import SAME_VALUES
from zskd_onnx.teacher.signature.quantized_head import is_quantizer

STEPS = 255
"""Number of steps between the lowest and highest value of eight bits."""


def rounds_to_integers(model: ir.Model) -> bool:
    """Whether a cleaned graph quantises activations, not only weights."""
    return any(_quantises_activations(node) for node in model.graph)


def _quantises_activations(node: ir.Node) -> bool:
    name = node.op_type
    return name != "DequantizeLinear" and (name.startswith(("QLinear", "QGemm")) or "Quantize" in name)


def quantisation_step(value: ir.Value, computed: np.ndarray) -> float:
    """The quantisation step of a value: the scale of the quantiser that computes it.

    Args:
        value: a value of a quantised graph.
        computed: the same value for some inputs. Without a quantiser of its own, the step is the
            range of these numbers divided by ``STEPS``.
    """
    while (node := value.producer()) is not None:
        if is_quantizer(node, "DequantizeLinear"):
            scale = read_input(node, 1)
            if scale.const_value is not None:
                return float(tensor_of(scale).float().max())
            break
        if node.domain != "" or node.op_type not in SAME_VALUES:
            break
        value = read_input(node, 0)
    return float(np.ptp(computed)) / STEPS
