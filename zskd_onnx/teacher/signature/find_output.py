"""Where a classifier ends: the output that holds the classes, and the scores behind it.

Found on the graph by following the output backwards, never by name.
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
from zskd_onnx.teacher.signature.quantized_head import is_quantizer, quantized_ending

ML = "ai.onnx.ml"
ENDINGS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
ONE_LOGIT = ((-0.5,), (0.5,))
"""Two logits whose softmax is (1 - sigmoid(z), sigmoid(z)), from the one logit z."""

OPPOSITE = ((0.5, 0.0), (0.0, 0.5))
"""The same, from the two scores (-z, z) that scikit-learn's binary classifiers have."""

Mix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Tail:
    """The end of the graph.

    Attributes:
        output: the output that was chosen.
        values: the tensor that it holds: itself, or what is inside a ZipMap or a sequence.
        kind: what the file gives, see ``Output``.
        scores: the value before a softmax or a sigmoid, or the output itself.
        mix: the matrix (K, J) that makes K logits of J scores, where K differs from J or the
            scores are no logits; otherwise None.
        head: the final fully connected layer, its rows mixed likewise, or None.
        features: the input of the head; of both where two heads are averaged; none without one.
    """

    output: ir.Value
    values: ir.Value
    kind: str
    scores: ir.Value
    mix: Mix | None
    head: Head | None
    features: tuple[ir.Value, ...]


def find_tail(model: ir.Model, output_name: str | None = None) -> Tail:
    """Find scores and head behind an output.

    Args:
        output_name: which output holds the classes; by default the one that can.

    Raises:
        UnsupportedTeacherError: no output, or more than one, can hold the classes, or the
            classes are no alternatives.
        UsageError: ``output_name`` is not an output.
    """
    outputs = list(model.graph.outputs)
    if output_name is not None:
        chosen = [value for value in outputs if value.name == output_name]
        if not chosen:
            names = ", ".join(repr(v.name) for v in outputs)
            raise UsageError(f"--output-name '{output_name}': the outputs are {names}")
        return _tail(chosen[0])
    tails = [_tail(value) for value in outputs if _can_hold_classes(value)]
    if len(tails) > 1:  # probabilities and logits, or features beside them: those with a head, from one layer
        headed = [tail for tail in tails if tail.head is not None]
        if headed and all(tail.scores is headed[0].scores for tail in headed):
            tails = headed[:1]
    if len(tails) != 1:
        names = ", ".join(f"'{v.name}'" for v in outputs)
        raise UnsupportedTeacherError(
            f"the model has {len(tails)} outputs that may hold the classes (of {names}), "
            "expected one with a value for each class; choose it with --output-name"
        )
    return tails[0]


def _can_hold_classes(value: ir.Value) -> bool:
    """Whether an output has floating-point values: as a tensor, in a ZipMap or in a sequence."""
    node = value.producer()
    if node is not None and node.op_type in ("ZipMap", "SequenceConstruct"):
        return True
    return value.dtype is None or value.dtype.is_floating_point()


def _tail(output: ir.Value) -> Tail:
    values = output
    while (node := values.producer()) is not None and node.op_type in ("ZipMap", "SequenceConstruct"):
        values = read_input(node, 0)
    kind, scores, normalised = "logits", _before_rounding(values), False
    mix: Mix | None = None
    value = values
    while (node := value.producer()) is not None:
        if node.domain == ML and node.op_type == "Normalizer" and attributes(node).get("norm", "MAX") == "L1":
            normalised = True
        elif (quantized := quantized_ending(node)) is not None:
            kind, scores = quantized
            break
        elif is_quantizer(node):
            pass
        elif node.domain != "":
            break
        elif node.op_type in ENDINGS:
            kind, scores = ENDINGS[node.op_type], read_input(node, 0)
            break
        elif (inner := _one_and_its_rest(node)) is not None:
            kind, scores, mix = "softmax", inner[0], ONE_LOGIT if inner[1] else ONE_LOGIT[::-1]
            break
        elif node.op_type not in SAME_VALUES:
            break
        value = read_input(node, 0)
    found = find_affine(scores)
    if kind == "sigmoid":
        if found is not None and _opposite(found):
            kind, mix = "softmax", OPPOSITE
        elif normalised:
            kind = "normalized_sigmoid"
    if found is None:
        return Tail(output, values, kind, scores, mix, None, ())
    tail = Tail(output, values, kind, scores, None, Head(found.weight, found.bias, found.node), found.features)
    return tail if mix is None else _mixed(tail, mix)


def _opposite(found: Affine) -> bool:
    """Whether two scores are each other's opposite, so that their sigmoids sum to one."""
    rows = found.weight if found.bias is None else torch.cat([found.weight, found.bias[:, None]], dim=1)
    return len(rows) == 2 and torch.allclose(rows[0], -rows[1])


def _before_rounding(value: ir.Value) -> ir.Value:
    """What a cast to half precision rounds: gradients need not pass through it."""
    while (node := value.producer()) is not None and node.op_type == "Cast" and attributes(node)["to"] in HALF:
        value = read_input(node, 0)
    return value


def _mixed(tail: Tail, mix: Mix) -> Tail:
    """A tail whose logits are a mixture of its scores."""
    head = tail.head
    if head is not None:
        matrix = torch.tensor(mix)
        head = Head(matrix @ head.weight, None if head.bias is None else matrix @ head.bias, head.node)
    return replace(tail, mix=mix, head=head)


def settle(tail: Tail, width: int, shape: tuple[int, ...]) -> Tail:
    """Decide what only sizes tell.

    Args:
        width: scores of one sample.
        shape: of one sample of the output.

    Raises:
        UnsupportedTeacherError: the output is no choice between classes.
    """
    name = tail.output.name
    if tail.kind == "sigmoid" and width == 1 and math.prod(shape) == 1:
        return _mixed(tail, ONE_LOGIT)
    if tail.kind == "sigmoid":
        raise UnsupportedTeacherError(
            f"output '{name}' has a sigmoid for each of {width} labels, which may hold together; expected classes of "
            "which one holds (softmax, or a single sigmoid for two classes)"
        )
    if not shape or shape[0] < 2 or any(n != 1 for n in shape[1:]) or (tail.mix is None and width != shape[0]):
        binary = "; a classifier of two classes with one logit must end in its sigmoid" if math.prod(shape) == 1 else ""
        raise UnsupportedTeacherError(
            f"output '{name}' has shape {['N', *shape]}, expected one value for each of two or more classes; "
            f"this is not a classifier (a regression model?){binary}"
        )
    return tail


def _one_and_its_rest(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """Concat(1 - s, s), s = Sigmoid(z): z, and whether s stands last."""
    if node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    first, second = read_input(node, 0), read_input(node, 1)
    for rest, one in ((first, second), (second, first)):
        maker, sigmoid = rest.producer(), one.producer()
        if maker is None or sigmoid is None or maker.op_type != "Sub" or sigmoid.op_type != "Sigmoid":
            continue
        unit, taken = read_input(maker, 0), read_input(maker, 1)
        if taken is one and unit.const_value is not None and bool((tensor_of(unit) == 1).all()):
            return read_input(sigmoid, 0), one is second
    return None
