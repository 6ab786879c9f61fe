"""The end of a classifier's graph, followed backwards from an output to the scores and the head behind it.

Names of nodes and values play no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir
import torch

from zskd_onnx.importer.nodes import attributes, read_input, tensor_of
from zskd_onnx.importer.passes.single_precision import HALF
from zskd_onnx.teacher.signature.affine import Affine
from zskd_onnx.teacher.signature.exclusive_classes import (
    CONTAINERS,
    FINAL_ACTIVATIONS,
    ML_DOMAIN,
    are_independent_probabilities,
)
from zskd_onnx.teacher.signature.head import SAME_VALUES, Head, find_affine
from zskd_onnx.teacher.signature.quantized_head import is_quantizer, quantized_activation

Mix = tuple[tuple[float, ...], ...]
"""Rows of a matrix (K, J) that computes K logits from J scores."""

MIX_OF_ONE_SCORE = ((-0.5,), (0.5,))
"""Two logits from one score z, whose softmax is (1 - sigmoid(z), sigmoid(z))."""

MIX_OF_OPPOSITE_SCORES = ((0.5, 0.0), (0.0, 0.5))
"""The same from two scores (-z, z), which scikit-learn's binary classifiers have."""


@dataclass(frozen=True)
class OutputTrace:
    """The end of the graph.

    Attributes:
        output: the output with the classes.
        values: the tensor with its values: the output itself, or the input of its ZipMap or sequence.
        kind: kind of the values, see ``Output.kind``.
        scores: the value before a softmax or sigmoid; the output's own values if there is none.
        mix: matrix (K, J) that computes K logits from J scores; None if the scores are the logits.
        head: the final fully connected layer, with weights mix @ W and mix @ b; None if there is none.
        features: inputs of the head: one, or two if two heads are added; empty without a head.
        independent: whether the values are sigmoids, or a mean, a maximum or a selection of sigmoids, without
            being one of the known kinds.
        notes: what was decided, in words.
    """

    output: ir.Value
    values: ir.Value
    kind: str
    scores: ir.Value
    mix: Mix | None
    head: Head | None
    features: tuple[ir.Value, ...]
    independent: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sums_to_one(self) -> bool:
        """Whether the output is normalised over the classes."""
        return self.kind in ("softmax", "log_softmax", "normalized_sigmoid")


def trace_output(output: ir.Value) -> OutputTrace:
    """Follow an output backwards to its scores and its head."""
    values = output
    while (node := values.producer()) is not None and node.op_type in CONTAINERS:
        values = read_input(node, 0)
    kind, scores, normalised = "logits", _before_rounding(values), False
    mix: Mix | None = None
    value = values
    while (node := value.producer()) is not None:
        if node.domain == ML_DOMAIN and node.op_type == "Normalizer" and attributes(node).get("norm", "MAX") == "L1":
            normalised = True
        elif (activation := quantized_activation(node)) is not None:
            kind, scores = activation
            break
        elif is_quantizer(node):
            pass
        elif node.domain != "":
            break
        elif node.op_type in FINAL_ACTIVATIONS:
            kind, scores = FINAL_ACTIVATIONS[node.op_type], read_input(node, 0)
            break
        elif (pair := _sigmoid_and_complement(node)) is not None:
            score, sigmoid_is_last = pair
            kind, scores, mix = "softmax", score, MIX_OF_ONE_SCORE if sigmoid_is_last else MIX_OF_ONE_SCORE[::-1]
            break
        elif node.op_type not in SAME_VALUES:
            break
        value = read_input(node, 0)
    rectified = _before_relu(scores) if kind in ("softmax", "log_softmax") and mix is None else None
    affine = find_affine(scores if rectified is None else rectified)
    if kind == "sigmoid":
        if affine is not None and _are_opposite(affine):
            kind, mix = "softmax", MIX_OF_OPPOSITE_SCORES
        elif normalised:
            kind = "normalized_sigmoid"
    independent = kind == "logits" and not normalised and are_independent_probabilities(values)
    if affine is None:
        return OutputTrace(output, values, kind, scores, mix, None, (), independent)
    head = Head(affine.weight, affine.bias, affine.node, rectified=rectified is not None)
    trace = OutputTrace(output, values, kind, scores, None, head, affine.features)
    return trace if mix is None else with_mix(trace, mix)


def _before_rounding(value: ir.Value) -> ir.Value:
    """Return the value before casts to half precision, so that gradients need not pass through them."""
    while (node := value.producer()) is not None and node.op_type == "Cast" and attributes(node)["to"] in HALF:
        value = read_input(node, 0)
    return value


def _before_relu(value: ir.Value) -> ir.Value | None:
    """Return the input of the ReLU that computes a value, or None if another operator does."""
    while (node := value.producer()) is not None and node.domain == "" and node.op_type in SAME_VALUES:
        value = read_input(node, 0)
    return read_input(node, 0) if node is not None and node.domain == "" and node.op_type == "Relu" else None


def _are_opposite(affine: Affine) -> bool:
    """Return whether a map has two scores z and -z, whose sigmoids sum to one."""
    rows = affine.weight if affine.bias is None else torch.cat([affine.weight, affine.bias[:, None]], dim=1)
    return len(rows) == 2 and torch.allclose(rows[0], -rows[1])


def with_mix(trace: OutputTrace, mix: Mix) -> OutputTrace:
    """Return a trace whose logits are the scores multiplied by a matrix."""
    head = trace.head
    if head is not None:
        matrix = torch.tensor(mix)
        head = replace(head, weight=matrix @ head.weight, bias=None if head.bias is None else matrix @ head.bias)
    return replace(trace, mix=mix, head=head)


def _sigmoid_and_complement(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """Match Concat(1 - s, s) or Concat(s, 1 - s) with s = Sigmoid(z).

    Returns:
        z, and whether s is the last operand; None for any other node.
    """
    if node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    first, second = read_input(node, 0), read_input(node, 1)
    for complement, probability in ((first, second), (second, first)):
        subtraction, sigmoid = complement.producer(), probability.producer()
        if subtraction is None or sigmoid is None or subtraction.op_type != "Sub" or sigmoid.op_type != "Sigmoid":
            continue
        minuend, subtrahend = read_input(subtraction, 0), read_input(subtraction, 1)
        if subtrahend is probability and minuend.const_value is not None and bool((tensor_of(minuend) == 1).all()):
            return read_input(sigmoid, 0), probability is second
    return None
