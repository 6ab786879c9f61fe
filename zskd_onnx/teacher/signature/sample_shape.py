"""The shape of one sample, from the file and ``--input-shape``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.importer.nodes import attributes
from zskd_onnx.teacher.signature.domain import LAYOUTS

SAMPLE_LIMIT = 1 << 26
"""Largest number of values in one sample."""

POSITIONS = {1: 100, 2: 224, 3: 16}
"""Number of axes of positions -> a usual size of each, for examples."""

SAME_AXES = ("Cast", "Identity", "Add", "Sub", "Mul", "Div", "Clip", "BatchNormalization", "QuantizeLinear")
"""Operators between the input and the first layer that keep the axes."""


def sample_shape(value: ir.Value, option: Sequence[int] | None, layout: str | None) -> tuple[int, ...]:
    """Return the shape of one sample in the file's layout.

    Args:
        value: the input.
        option: the shape that the user gives, or None.
        layout: the layout that the user gives, or None; only examples in messages use it.

    Raises:
        UnsupportedTeacherError: a size is open, or the shape is that of no supported kind of sample.
        UsageError: the option does not fit the file.
    """
    declared = None if value.shape is None else list(value.shape)[1:]
    if declared is not None and option is not None and len(declared) != len(option):
        raise UsageError(
            f"--input-shape {list(option)}: input '{value.name}' has {len(declared)} dimensions after the batch, "
            "expected one number for each"
        )
    dimensions = list(option) if option is not None else declared or []
    sizes = [n for n in dimensions if isinstance(n, int)]
    if declared is None and option is None:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has no declared shape; set that of one sample with --input-shape, for example "
            "13 for vectors or 3,224,224 for images"
        )
    if len(sizes) < len(dimensions):
        example = ",".join(map(str, _example(value, layout)))
        raise UnsupportedTeacherError(
            f"input '{value.name}' has open sizes {_written(value)}; set those of one sample with --input-shape, for "
            f"example --input-shape {example}"
        )
    for fixed, size in zip(declared or sizes, sizes, strict=True):
        if isinstance(fixed, int) and fixed != size:
            raise UsageError(f"--input-shape {list(sizes)}: the file fixes input '{value.name}' to {_written(value)}")
    if len(sizes) + 1 not in LAYOUTS:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has shape {_written(value)}; expected vectors (N, F), "
            "sequences (N, C, L), images (N, C, H, W) or volumes (N, C, D, H, W)"
        )
    if any(n < 1 for n in sizes) or np.prod(np.array(sizes, dtype=object)) > SAMPLE_LIMIT:
        raise UnsupportedTeacherError(
            f"input '{value.name}' has samples of shape {sizes}; "
            f"expected positive sizes, and at most {SAMPLE_LIMIT:,} values in a sample"
        )
    return tuple(sizes)


def _written(value: ir.Value) -> str:
    """The shape of an input in messages, such as "[N, 40, time]"; "?" is a size without a name."""
    sizes = [] if value.shape is None else [n if isinstance(n, int) else n.value or "?" for n in value.shape]
    if sizes[:1] == ["?"]:
        sizes[0] = "N"
    return f"[{', '.join(map(str, sizes))}]"


def _example(value: ir.Value, layout: str | None) -> list[int]:
    """A sample's shape that fits the sizes that the file and the first layer fix."""
    assert value.shape is not None
    sizes = [size if isinstance(size, int) else None for size in value.shape][1:]
    axis, channels = _channels(value)
    if axis is None:
        last = layout is not None and layout.upper() in (names[-1] for names in LAYOUTS.values())
        axis = len(sizes) - 1 if last or (sizes[0] is None and sizes[-1] is not None) else 0
    usual = POSITIONS.get(len(sizes) - 1, 1)
    open_channels = channels or (3 if len(sizes) == 3 else 13)
    return [size or (open_channels if i == axis else usual) for i, size in enumerate(sizes)]


def _channels(value: ir.Value) -> tuple[int | None, int | None]:
    """The axis of a sample that holds the channels and their number, as the first layer shows them."""
    assert value.shape is not None
    axes = list(range(len(value.shape)))  # where each axis of the current value lies in the input
    while True:
        uses = [use for use in value.uses() if use.node.op_type != "Shape"]
        if len(uses) != 1 or (node := uses[0].node).domain not in ("", "com.microsoft"):
            return None, None
        if node.op_type == "Transpose" and "perm" in node.attributes:
            perm = node.attributes["perm"].as_ints()
            if sorted(perm) != list(range(len(axes))):
                return None, None
            axes = [axes[i] for i in perm]
        elif node.op_type not in SAME_AXES:
            break
        value = node.outputs[0]
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None or uses[0].idx != 0:
        return None, None
    shape = weight.const_value.shape.numpy()
    if node.op_type == "Conv" and len(axes) > 2 and len(shape) == len(axes):
        return axes[1] - 1, shape[1] * attributes(node).get("group", 1)
    if node.op_type in ("LSTM", "GRU", "RNN") and len(axes) == len(shape) == 3:
        return axes[2] - 1, shape[2]
    if node.op_type in ("Gemm", "MatMul") and len(shape) == 2 and axes[-1] > 0:
        return axes[-1] - 1, shape[1] if attributes(node).get("transB", 0) else shape[0]
    return None, None
