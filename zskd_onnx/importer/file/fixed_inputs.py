"""Replace inputs of a model by constants, so that one input remains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from zskd_onnx.errors import UnsupportedTeacherError, UsageError
from zskd_onnx.system.files import expect_file

Value = float | Sequence[float] | np.ndarray | Path
"""A number, an array, or a .npy file that contains one."""

Fixed = Mapping[str, Value]
"""Name of an input -> its constant."""

ELEMENT_LIMIT = 1 << 26
"""Largest number of elements of a constant."""


def fix_inputs(model: onnx.ModelProto, fixed: Fixed) -> dict[str, str]:
    """Replace inputs by constants, in place.

    A value is broadcast to the declared shape. If the first size of an input is variable, it is
    the batch: the value holds for one sample, with or without a batch of 1 in front, and is repeated
    for every sample of the remaining input.

    Args:
        model: the model.
        fixed: name of an input -> its constant. If it is empty, nothing changes.

    Returns:
        Name of an input -> the SHA-256 of its constant.

    Raises:
        UsageError: the model has no such input, or the value does not fit it.
        UnsupportedTeacherError: not exactly one input would remain.
    """
    if not fixed:
        return {}
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    for name in fixed:
        if name not in inputs:
            raise UsageError(f"--fix {name}: no such input; the file's inputs are {', '.join(map(repr, inputs))}")
    remaining = [name for name in inputs if name not in fixed]
    if len(remaining) != 1:
        raise UnsupportedTeacherError(
            f"{len(remaining)} inputs remain ({', '.join(map(repr, remaining)) or 'none'}), expected one; "
            "use --fix for all inputs but one"
        )
    nodes: list[onnx.NodeProto] = []
    digests = {}
    for name, value in fixed.items():
        sizes, kind = _declared(inputs[name])
        per_sample = bool(sizes) and sizes[0] is None
        array = _array(name, value, kind)
        if per_sample and array.ndim == len(sizes) and len(array) == 1:
            array = array[0]
        constant = _broadcast(name, array, sizes[1:] if per_sample else sizes, kind)
        digests[name] = hashlib.sha256(constant.tobytes()).hexdigest()
        graph.input.remove(inputs[name])
        if per_sample:
            prefix = f"{name}_fixed"
            graph.initializer.append(numpy_helper.from_array(constant[None], prefix))
            graph.initializer.append(numpy_helper.from_array(np.array([0]), f"{prefix}_first"))
            rest = np.array(constant.shape, dtype=np.int64)
            graph.initializer.append(numpy_helper.from_array(rest, f"{prefix}_rest"))
            nodes += [
                helper.make_node("Shape", [remaining[0]], [f"{prefix}_sizes"]),
                helper.make_node("Gather", [f"{prefix}_sizes", f"{prefix}_first"], [f"{prefix}_batch"]),
                helper.make_node("Concat", [f"{prefix}_batch", f"{prefix}_rest"], [f"{prefix}_shape"], axis=0),
                helper.make_node("Expand", [prefix, f"{prefix}_shape"], [name]),
            ]
        else:
            graph.initializer.append(numpy_helper.from_array(constant, name))
    old_nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *old_nodes])
    return digests


def fixed_values(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The constants of inputs that ``fix_inputs`` replaced; one that holds for each sample has a batch of 1 in front.

    Args:
        model: the model, after ``fix_inputs``.
        names: the keys of its result.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {name: numpy_helper.to_array(constants.get(name) or constants[f"{name}_fixed"]) for name in names}


def is_per_sample(model: onnx.ModelProto, name: str) -> bool:
    """Whether the constant of a fixed input holds for each sample, and not for a whole batch."""
    return all(tensor.name != name for tensor in model.graph.initializer)


def _declared(value: onnx.ValueInfoProto) -> tuple[list[int | None], int]:
    """The declared sizes, None where a size is variable, and the element type."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise UsageError(f"--fix {value.name}: the file does not declare the shape of this input; export it with one")
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim], tensor.elem_type


def _array(name: str, value: Value, kind: int) -> np.ndarray:
    """The value as an array, for an input of an element type."""
    if kind == onnx.TensorProto.STRING or kind not in helper.get_all_tensor_dtypes():
        raise UsageError(f"--fix {name}: this input has type {onnx.TensorProto.DataType.Name(kind)}, expected numbers")
    if isinstance(value, Path):
        expect_file(value, f"a .npy file with a constant for --fix {name}")
    try:
        array = np.load(value, allow_pickle=False) if isinstance(value, Path) else np.asarray(value)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--fix {name}: {value}: expected an array in a .npy file ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or np.isnan(array).any():
        raise UsageError(f"--fix {name}: expected numbers, and no NaN")
    return array


def _broadcast(name: str, array: np.ndarray, sizes: list[int | None], kind: int) -> np.ndarray:
    """The array, broadcast to an input's sizes, in its element type."""
    aligned = (1,) * (len(sizes) - array.ndim) + array.shape
    shape = tuple(aligned[i] if size is None else size for i, size in enumerate(sizes))
    try:
        if np.prod(np.array(shape, dtype=object)) > ELEMENT_LIMIT:
            raise ValueError(f"more than {ELEMENT_LIMIT:,} values")
        return np.broadcast_to(array, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
    except (ValueError, IndexError) as error:
        expected = ["any" if size is None else size for size in sizes]
        raise UsageError(
            f"--fix {name}: values of shape {list(array.shape)} do not fit, expected {expected}"
        ) from error
