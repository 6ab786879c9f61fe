"""The end of a classifier's graph: the output with the classes, and the scores and head behind it.

The search follows the graph backwards from the output; names of nodes and values play no part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.importer.nodes import attributes, read_input, tensor_of
from zskd_onnx.importer.passes.single_precision import HALF
from zskd_onnx.teacher.signature.affine import Affine
from zskd_onnx.teacher.signature.head import SAME_VALUES, Head, find_affine
from zskd_onnx.teacher.signature.quantized_head import is_quantizer, quantized_activation

ML_DOMAIN = "ai.onnx.ml"
CONTAINERS = ("ZipMap", "SequenceConstruct")
"""Operators that wrap the scores into a map or a sequence."""

FINAL_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
"""Operator at the end of the graph -> kind of the output."""

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
    """

    output: ir.Value
    values: ir.Value
    kind: str
    scores: ir.Value
    mix: Mix | None
    head: Head | None
    features: tuple[ir.Value, ...]


def find_output(model: ir.Model, output_name: str | None = None) -> OutputTrace:
    """Find the output with the classes, and the scores and head behind it.

    Args:
        model: the cleaned model.
        output_name: name of that output; None takes the only one that can hold class scores.

    Raises:
        UnsupportedTeacherError: no output can hold class scores, or several can.
        UsageError: the model has no output of that name.
    """
    outputs = list(model.graph.outputs)
    if output_name is not None:
        matches = [value for value in outputs if value.name == output_name]
        if not matches:
            names = ", ".join(repr(v.name) for v in outputs)
            raise UsageError(f"--output-name '{output_name}': no such output; expected one of {names}")
        return _trace(matches[0])
    traces = [_trace(value) for value in outputs if _can_hold_scores(value)]
    if len(traces) > 1:
        # Probabilities beside their logits, or features beside logits: the outputs with a head decide, if they share it.
        with_head = [trace for trace in traces if trace.head is not None]
        if with_head and all(trace.scores is with_head[0].scores for trace in with_head):
            traces = with_head[:1]
    if len(traces) != 1:
        names = ", ".join(f"'{v.name}'" for v in outputs)
        raise UnsupportedTeacherError(
            f"{len(traces)} of the model's outputs ({names}) can hold class scores, expected exactly one; "
            "name it with --output-name"
        )
    return traces[0]


def settle_output(trace: OutputTrace, width: int, shape: tuple[int, ...]) -> OutputTrace:
    """Complete a trace once the imported graph has shown the sizes of its values.

    Args:
        trace: from ``find_output``.
        width: number of scores of one sample, J.
        shape: shape of one sample of the output.

    Raises:
        UnsupportedTeacherError: the output is no choice between two or more classes.
    """
    name = trace.output.name
    if trace.kind == "sigmoid" and width == 1 and math.prod(shape) == 1:
        return _with_mix(trace, MIX_OF_ONE_SCORE)
    if trace.kind == "sigmoid":
        raise UnsupportedTeacherError(
            f"output '{name}' has an independent sigmoid for each of {width} labels, so it is multi-label; "
            "expected mutually exclusive classes: a softmax, or a single sigmoid for two classes"
        )
    if not shape or shape[0] < 2 or any(n != 1 for n in shape[1:]) or (trace.mix is None and width != shape[0]):
        binary = "; a two-class model with one output value must end in a sigmoid" if math.prod(shape) == 1 else ""
        raise UnsupportedTeacherError(
            f"output '{name}' has shape {['N', *shape]}, expected one value for each of two or more classes; "
            f"the model is not a classifier, perhaps a regression model{binary}"
        )
    return trace


def _can_hold_scores(value: ir.Value) -> bool:
    """Return whether an output has floating-point values, perhaps inside a ZipMap or a sequence."""
    node = value.producer()
    if node is not None and node.op_type in CONTAINERS:
        return True
    return value.dtype is None or value.dtype.is_floating_point()


def _trace(output: ir.Value) -> OutputTrace:
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
    affine = find_affine(scores)
    if kind == "sigmoid":
        if affine is not None and _are_opposite(affine):
            kind, mix = "softmax", MIX_OF_OPPOSITE_SCORES
        elif normalised:
            kind = "normalized_sigmoid"
    if affine is None:
        return OutputTrace(output, values, kind, scores, mix, None, ())
    head = Head(affine.weight, affine.bias, affine.node)
    trace = OutputTrace(output, values, kind, scores, None, head, affine.features)
    return trace if mix is None else _with_mix(trace, mix)


def _before_rounding(value: ir.Value) -> ir.Value:
    """Return the value before casts to half precision, so that gradients need not pass through them."""
    while (node := value.producer()) is not None and node.op_type == "Cast" and attributes(node)["to"] in HALF:
        value = read_input(node, 0)
    return value


def _are_opposite(affine: Affine) -> bool:
    """Return whether a map has two scores z and -z, whose sigmoids sum to one."""
    rows = affine.weight if affine.bias is None else torch.cat([affine.weight, affine.bias[:, None]], dim=1)
    return len(rows) == 2 and torch.allclose(rows[0], -rows[1])


def _with_mix(trace: OutputTrace, mix: Mix) -> OutputTrace:
    """Return a trace whose logits are the scores multiplied by a matrix."""
    head = trace.head
    if head is not None:
        matrix = torch.tensor(mix)
        head = Head(matrix @ head.weight, None if head.bias is None else matrix @ head.bias, head.node)
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
