"""How far the rounding of a quantised file lets two runtimes differ: one quantisation step."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from zskd_onnx.importer.nodes import read_input, tensor_of
from zskd_onnx.teacher.signature.head import SAME_VALUES
from zskd_onnx.teacher.signature.quantized_head import is_quantizer

STEPS = 255
"""Steps of eight bits."""


def rounds_to_integers(model: ir.Model) -> bool:
    """Whether a cleaned graph quantises what it computes, not only its weights."""
    return any(_rounds(node) for node in model.graph)


def _rounds(node: ir.Node) -> bool:
    name = node.op_type
    return name != "DequantizeLinear" and (name.startswith(("QLinear", "QGemm")) or "Quantize" in name)


def quantisation_step(value: ir.Value, computed: np.ndarray) -> float:
    """The step that a value of a quantised graph comes in.

    Args:
        computed: the value; without a quantiser of its own, its step is what eight bits resolve.
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
