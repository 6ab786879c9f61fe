"""Python objects as inputs of a run: written to its folder, so that the run can be resumed without them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from zskd_onnx.errors import UsageError
from zskd_onnx.pipeline.check_output import INPUTS
from zskd_onnx.system.files import atomic_write

RealArrays = str | Path | np.ndarray | tuple[Any, Any] | Mapping[str, Any]
"""Real samples: the path of an .npz, an array x, a pair (x, y), or a mapping with "x" and, if known, "y"."""


def teacher_file(teacher: str | Path | onnx.ModelProto | None, folder: Path) -> Path | None:
    """The path of a teacher; a model in memory is written to the inputs of the run in ``folder``.

    Raises:
        UsageError: the model refers to weights in other files.
    """
    if not isinstance(teacher, onnx.ModelProto):
        return None if teacher is None else Path(teacher)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in teacher.graph.initializer):
        raise UsageError("the teacher's weights lie in other files; load them with onnx.load(path), or give the path")
    return _written(folder, "teacher", ".onnx", teacher.SerializeToString(deterministic=True))


def samples_file(samples: RealArrays | None, name: str, folder: Path) -> Path | None:
    """The path of real samples; arrays are written to the inputs of the run in ``folder``.

    Args:
        name: of the argument, such as "data".

    Raises:
        UsageError: the samples are something else.
    """
    if samples is None or isinstance(samples, (str, Path)):
        return None if samples is None else Path(samples)
    if isinstance(samples, Mapping):
        arrays = dict(samples)
    elif isinstance(samples, tuple):
        arrays = dict(zip(("x", "y"), samples, strict=True)) if len(samples) == 2 else {}
    else:
        arrays = {"x": samples}
    if "x" not in arrays or not arrays.keys() <= {"x", "y"}:
        raise UsageError(f"{name}: expected a path, an array x, a pair (x, y), or a mapping with x and y")
    content = io.BytesIO()
    np.savez(content, **{key: np.asarray(value) for key, value in arrays.items()})  # type: ignore[arg-type]
    return _written(folder, name, ".npz", content.getvalue())


def _written(folder: Path, name: str, suffix: str, content: bytes) -> Path:
    """The file with this content. Its name has a digest, so that it is never the file of another run."""
    path = folder / INPUTS / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    return path
