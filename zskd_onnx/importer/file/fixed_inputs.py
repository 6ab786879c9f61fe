"""Inputs that the user gives a constant for, so that one is left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.system.files import expect_file

Value = float | Sequence[float] | np.ndarray | Path
Fixed = Mapping[str, Value]
LIMIT = 1 << 26
"""Values that a constant may have."""


def fix_inputs(model: onnx.ModelProto, fixed: Fixed) -> dict[str, str]:
    """Turn inputs into constants, in place.

    A value broadcasts to the declared shape. An input whose first size is open gets the value for
    each sample of whatever batch the remaining input has.

    Args:
        fixed: name of an input -> a number, an array of one sample, or a .npy file that holds one.

    Returns:
        The SHA-256 of each constant, by name.

    Raises:
        UsageError: no such input, or a value that does not fit it.
        UnsupportedTeacherError: not exactly one input would remain.
    """
    if not fixed:
        return {}
    graph = model.graph
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in initialised}
    for name in fixed:
        if name not in inputs:
            raise UsageError(f"--fix {name}: the inputs are {', '.join(map(repr, inputs))}")
    left = [name for name in inputs if name not in fixed]
    if len(left) != 1:
        raise UnsupportedTeacherError(
            f"{len(left)} inputs remain ({', '.join(map(repr, left)) or 'none'}), expected one; give --fix for all but one"
        )
    nodes: list[onnx.NodeProto] = []
    digests = {}
    for name, value in fixed.items():
        sizes, kind = _declared(inputs[name])
        free = bool(sizes) and sizes[0] is None
        constant = _broadcast(name, value, sizes[1:] if free else sizes, kind)
        digests[name] = hashlib.sha256(constant.tobytes()).hexdigest()
        graph.input.remove(inputs[name])
        if free:
            prefix = f"{name}_fixed"
            graph.initializer.append(numpy_helper.from_array(constant[None], prefix))
            graph.initializer.append(numpy_helper.from_array(np.array([0]), f"{prefix}_first"))
            rest = np.array(constant.shape, dtype=np.int64)
            graph.initializer.append(numpy_helper.from_array(rest, f"{prefix}_rest"))
            nodes += [
                helper.make_node("Shape", [left[0]], [f"{prefix}_sizes"]),
                helper.make_node("Gather", [f"{prefix}_sizes", f"{prefix}_first"], [f"{prefix}_batch"]),
                helper.make_node("Concat", [f"{prefix}_batch", f"{prefix}_rest"], [f"{prefix}_shape"], axis=0),
                helper.make_node("Expand", [prefix, f"{prefix}_shape"], [name]),
            ]
        else:
            graph.initializer.append(numpy_helper.from_array(constant, name))
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    return digests


def _declared(value: onnx.ValueInfoProto) -> tuple[list[int | None], int]:
    """Sizes, None where open, and the element type."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise UsageError(f"--fix {value.name}: the file does not say the shape of this input")
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim], tensor.elem_type


def _broadcast(name: str, value: Value, sizes: list[int | None], kind: int) -> np.ndarray:
    if kind == onnx.TensorProto.STRING or kind not in helper.get_all_tensor_dtypes():
        raise UsageError(f"--fix {name}: this input holds {onnx.TensorProto.DataType.Name(kind)}, expected numbers")
    if isinstance(value, Path):
        expect_file(value, f"a .npy file with a constant for --fix {name}")
    try:
        given = np.load(value, allow_pickle=False) if isinstance(value, Path) else np.asarray(value)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--fix {name}: {value}: expected an array in a .npy file ({error})") from error
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "biuf" or np.isnan(given).any():
        raise UsageError(f"--fix {name}: expected numbers, and no NaN")
    own = (1,) * (len(sizes) - given.ndim) + given.shape
    shape = tuple(own[i] if size is None else size for i, size in enumerate(sizes))
    try:
        if np.prod(np.array(shape, dtype=object)) > LIMIT:
            raise ValueError(f"more than {LIMIT:,} values")
        return np.broadcast_to(given, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
    except (ValueError, IndexError) as error:
        raise UsageError(f"--fix {name}: values of shape {given.shape} do not fit an input of shape {sizes}") from error
