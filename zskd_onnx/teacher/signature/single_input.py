"""The model's only input: how many there are, and of which type."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.importer.nodes import describe
from zskd_onnx.importer.operators.constant import TORCH_DTYPE

INTEGERS = (ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32)
"""Types that torch has, of inputs without a gradient."""

SAME_ELEMENTS = ("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Clip", "Where")
"""Operators behind which token ids are still token ids."""

LOOKUPS = ("Gather", "GatherND", "GatherElements", "OneHot", "EmbedLayerNormalization")
"""Operators that look up rows by integers."""

NAMES_SHOWN = 6
"""Largest number of inputs that a message lists."""


def single_input(model: ir.Model) -> ir.Value:
    """Return the model's only input, which holds floating-point values or 8-bit pixels.

    Raises:
        UnsupportedTeacherError: there are several inputs, or its type has no gradient; the message says what
            to do.
    """
    inputs = list(model.graph.inputs)
    if not inputs:
        raise UnsupportedTeacherError("no input of the model changes its outputs; expected one with the samples")
    if len(inputs) > 1:
        raise UnsupportedTeacherError(_several(inputs))
    if not _has_gradient(inputs[0]):
        raise UnsupportedTeacherError(_without_gradient(inputs[0]))
    return inputs[0]


def _has_gradient(value: ir.Value) -> bool:
    return value.dtype in TORCH_DTYPE and value.dtype not in INTEGERS


def _several(inputs: Sequence[ir.Value]) -> str:
    """The message for a model with several inputs."""
    shown = ", ".join(f"'{value.name}'" for value in inputs[:NAMES_SHOWN])
    names = f"{shown}, ..." if len(inputs) > NAMES_SHOWN else shown
    if all(_is_column(value) for value in inputs):
        return _columns(inputs, names)
    candidates = [value for value in inputs if _has_gradient(value)]
    if not candidates:
        return f"the model has {len(inputs)} inputs ({names}); {_without_gradient(inputs[0])}"
    if len(candidates) == 1:
        others = " ".join(f"--fix {value.name}=VALUE" for value in inputs if value is not candidates[0])
        return (
            f"the model has {len(inputs)} inputs ({names}), expected one; keep '{candidates[0].name}', and set each "
            f"of the others to a constant: {others}"
        )
    return (
        f"the model has {len(inputs)} inputs ({names}), expected one; "
        "set each of the others to a constant with --fix NAME=VALUE"
    )


def _is_column(value: ir.Value) -> bool:
    """Whether an input holds one number or text for each sample, as converters of tables write them."""
    sizes = None if value.shape is None else list(value.shape)
    return sizes is not None and (len(sizes) == 1 or (len(sizes) == 2 and sizes[1] == 1))


def _columns(inputs: Sequence[ir.Value], names: str) -> str:
    """The message for a model with one input a column."""
    count = len(inputs)
    texts = [f"'{value.name}'" for value in inputs if value.dtype == ir.DataType.STRING]
    if texts:
        return (
            f"the model has one input for each of {count} columns ({names}), and {', '.join(texts[:NAMES_SHOWN])} "
            f"hold{'s' if len(texts) == 1 else ''} text, which has no gradient; encode text as numbers before the model, "
            "and convert only the part behind the encoder, with one float32 input"
        )
    return (
        f"the model has one input for each of {count} columns ({names}), expected one input of shape [N, {count}]; "
        f"convert it from an array with initial_types=[('x', FloatTensorType([None, {count}]))] (skl2onnx), or replace "
        f"the inputs in the file by one input 'x' [N, {count}] and a node Split(x, axis=1) whose outputs have their names"
    )


def _without_gradient(value: ir.Value) -> str:
    """The message for an input whose type has no gradient."""
    kind = value.dtype.name if value.dtype else "unknown"
    start = f"input '{value.name}' has type {kind}"
    if value.dtype == ir.DataType.STRING:
        return f"{start}: text has no gradient; encode it before the model, and export the part behind the encoder"
    if (lookup := _lookup(value)) is not None:
        return (
            f"{start} and holds token ids, which {describe(lookup)} looks up, so it has no gradient; expected "
            "floating-point values or 8-bit pixels. Export the part of the model behind the embedding"
        )
    return (
        f"{start}; expected floating-point values or 8-bit pixels. Export the model with a float32 input "
        "(skl2onnx: FloatTensorType)"
    )


def _lookup(value: ir.Value) -> ir.Node | None:
    """The node that uses the elements of an integer input as indices, or None."""
    pending, seen = [value], {value}
    while pending:
        for use in pending.pop().uses():
            if use.node.op_type in LOOKUPS and (use.idx == 1 or use.node.op_type not in LOOKUPS[:3]):
                return use.node
            if use.node.op_type in SAME_ELEMENTS and (after := use.node.outputs[0]) not in seen:
                seen.add(after)
                pending.append(after)
    return None
