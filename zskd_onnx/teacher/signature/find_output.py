"""The output with the classes: which of a file's outputs it is, and what its values are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir
import torch
from torch import Tensor

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.teacher.signature.exclusive_classes import CONTAINERS, why_not_exclusive
from zskd_onnx.teacher.signature.trace_output import MIX_OF_ONE_SCORE, OutputTrace, trace_output, with_mix


def find_output(model: ir.Model, output_name: str | None = None) -> OutputTrace:
    """Find the output with the classes, and the scores and head behind it.

    Among several, the one behind a softmax and a final fully connected layer is chosen, then one behind such a
    layer, then one behind a softmax. Outputs that share their scores count as one.

    Args:
        model: the cleaned model.
        output_name: name of that output; None takes the only one that can hold class scores.

    Raises:
        UnsupportedTeacherError: no output can hold scores of exclusive classes, or several can.
        UsageError: the model has no output of that name.
    """
    outputs = list(model.graph.outputs)
    if output_name is not None:
        matches = [value for value in outputs if value.name == output_name]
        if not matches:
            raise UsageError(f"--output-name '{output_name}': no such output; expected one of {_names(outputs)}")
        if (reason := why_not_exclusive(matches[0])) is not None:
            raise UnsupportedTeacherError(reason)
        return trace_output(matches[0])
    candidates = [value for value in outputs if _can_hold_scores(value)]
    reasons = [why_not_exclusive(value) for value in candidates]
    traces = [trace_output(value) for value, reason in zip(candidates, reasons, strict=True) if reason is None]
    if not traces:
        raise UnsupportedTeacherError(
            next(filter(None, reasons), None)
            or f"none of the model's outputs ({_names(outputs)}) holds floating-point scores; export the model with its "
            "scores or probabilities as an output"
        )
    return traces[0] if len(traces) == 1 else _choose(traces)


def _choose(traces: Sequence[OutputTrace]) -> OutputTrace:
    """Choose one of several outputs that can hold class scores.

    Raises:
        UnsupportedTeacherError: the graph does not tell which one.
    """
    for why, group in (
        ("it ends in a softmax", [t for t in traces if t.sums_to_one and t.head is not None]),
        ("a final fully connected layer computes it", [t for t in traces if t.head is not None]),
        ("it ends in a softmax", [t for t in traces if t.sums_to_one]),
    ):
        if not group or any(trace.scores is not group[0].scores for trace in group):
            continue
        same = [trace for trace in traces if trace.scores is group[0].scores]
        chosen = next(trace for trace in same if (trace.head is None) == (group[0].head is None))
        others = [trace.output for trace in traces if trace not in same]
        note = (
            f"output '{chosen.output.name}' is taken for the classes, because {why}; to take another one "
            f"({_names(others)}), give --output-name"
        )
        return replace(chosen, notes=(note,)) if others else chosen
    raise UnsupportedTeacherError(
        f"{len(traces)} of the model's outputs ({_names([t.output for t in traces])}) can hold class scores, expected "
        "exactly one; name it with --output-name"
    )


def settle_output(
    trace: OutputTrace, width: int, shape: tuple[int, ...], features: Sequence[tuple[int, ...]]
) -> OutputTrace:
    """Complete a trace once the imported graph has shown the sizes of its values.

    The head is dropped unless it has a row for each class and a column for each feature: a convolution in its
    place may read maps larger than itself.

    Args:
        trace: from ``find_output``.
        width: number of scores of one sample, J.
        shape: shape of one sample of the output.
        features: shape of one sample of each of the trace's features.

    Raises:
        UnsupportedTeacherError: the output is no choice between two or more classes.
    """
    name = trace.output.name
    if trace.kind == "sigmoid" and width == 1 and math.prod(shape) == 1:
        return with_mix(trace, MIX_OF_ONE_SCORE)
    if trace.independent and width == 1 and math.prod(shape) == 1:
        return replace(trace, kind="sigmoid")
    if trace.kind == "sigmoid":
        raise _multi_label(trace, width)
    if not shape or shape[0] < 2 or any(n != 1 for n in shape[1:]) or (trace.mix is None and width != shape[0]):
        binary = "; a two-class model with one output value must end in a sigmoid" if math.prod(shape) == 1 else ""
        raise UnsupportedTeacherError(
            f"output '{name}' has shape {['N', *shape]}, expected one value for each of two or more classes; "
            f"the model is not a classifier, perhaps a regression model{binary}"
        )
    if trace.head is not None:
        rows, columns = trace.head.weight.shape
        if rows != shape[0] or any(len(size) == 1 and size[0] != columns for size in features):
            return replace(trace, head=None, features=())
    return trace


def settle_kind(trace: OutputTrace, values: Tensor) -> OutputTrace:
    """Complete a trace of kind "logits", by values (N, *shape) of the output on random inputs.

    Values that sum to one are probabilities, whatever computes them. A note says so if the values look like
    independent probabilities of several labels.

    Raises:
        UnsupportedTeacherError: the values are independent probabilities of several labels.
    """
    values = values.float().flatten(1)
    labels = values.shape[1]
    sum_to_one = bool((values >= 0).all()) and torch.allclose(values.sum(1), torch.ones(len(values)), atol=1e-3)
    if trace.independent and not (sum_to_one and labels == 2):  # two may be a probability and its complement
        raise _multi_label(trace, labels)
    if sum_to_one:
        return replace(trace, kind="probabilities")
    if bool(((values >= 0) & (values <= 1)).all()):
        note = (
            f"output '{trace.output.name}' holds values from 0 to 1 that do not sum to 1, as independent labels have; "
            "they are taken for scores of mutually exclusive classes. If several labels can hold at once, the model is "
            "multi-label, and the student will be useless"
        )
        return replace(trace, notes=(*trace.notes, note))
    return trace


def _multi_label(trace: OutputTrace, labels: int) -> UnsupportedTeacherError:
    return UnsupportedTeacherError(
        f"output '{trace.output.name}' has an independent sigmoid for each of {labels} labels, so it is multi-label; "
        "expected mutually exclusive classes: a softmax, or a single sigmoid for two classes"
    )


def _can_hold_scores(value: ir.Value) -> bool:
    """Return whether an output has floating-point values, perhaps inside a ZipMap or a sequence."""
    node = value.producer()
    if node is not None and node.op_type in CONTAINERS:
        return True
    return value.dtype is None or value.dtype.is_floating_point()


def _names(outputs: Sequence[ir.Value]) -> str:
    return ", ".join(f"'{value.name}'" for value in outputs)
