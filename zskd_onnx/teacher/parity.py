"""The gate: an import counts only if it computes what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from zskd_onnx.errors import ParityError, UnsupportedTeacherError
from zskd_onnx.runtime import open_session, run
from zskd_onnx.teacher.teacher import Teacher

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest value where that exceeds one."""

HALF_TOLERANCE = 1e-2
"""The same in half precision, which runtimes round at different places."""


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference, over max(1, largest magnitude); infinite where either is not finite."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(theirs).max())))


def check_parity(teacher: Teacher, logits_name: str | None, generator: torch.Generator) -> float:
    """Compare file output and logits with onnxruntime on random inputs at two batch sizes.

    The logits are compared too, where the file names them: a saturated softmax hides differences.

    Args:
        logits_name: the logits' name in the file, or None.

    Returns:
        The largest difference.

    Raises:
        ParityError: a difference over the tolerance.
        UnsupportedTeacherError: onnxruntime cannot run the file.
    """
    path = teacher.source.path
    model = onnx.ModelProto()
    model.CopyFrom(teacher.source.proto)
    named = {name for node in model.graph.node for name in node.output}
    wanted = [teacher.output.name]
    if logits_name is not None and logits_name in named and logits_name not in {o.name for o in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(logits_name))
        wanted.append(logits_name)
    external = any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    try:
        # A model with weights in a second file must be opened from its own folder.
        session = open_session(path if external else model.SerializeToString())
    except Exception as error:
        raise UnsupportedTeacherError(f"{path}: onnxruntime cannot load it ({_reason(error)})") from error
    wanted = wanted[:1] if external else wanted

    half = torch.float16 in (teacher.domain.torch_dtype, teacher.output.dtype)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    batch = session.get_inputs()[0].shape[0]
    sizes = (batch, 2 * batch) if isinstance(batch, int) else (2, 3)
    worst = 0.0
    for size in sizes:
        shape = (size, *teacher.domain.shape)
        x = teacher.domain.to_array(teacher.domain.to_file(torch.rand(shape, generator=generator)))
        try:
            theirs = run(session, x, wanted)
        except Exception as error:
            raise UnsupportedTeacherError(f"{path}: onnxruntime cannot run it ({_reason(error)})") from error
        tensor = torch.from_numpy(x)
        tensor = tensor if tensor.is_floating_point() else tensor.float()
        try:
            with torch.no_grad():
                ours = [teacher(tensor).numpy(), teacher.logits(tensor).numpy()]
        except RuntimeError as error:
            raise UnsupportedTeacherError(
                f"{path}: the graph does not run at batch size {size} ({_reason(error)}); export it with a free batch size"
            ) from error
        for name, a, b in zip(wanted, ours, theirs, strict=False):
            gap = difference(a.reshape(b.shape) if a.size == b.size else a, b)
            if gap > tolerance:
                raise ParityError(
                    f"{path}: output '{name}' at batch size {size} differs from onnxruntime by {gap:.3g} "
                    f"(tolerance {tolerance:g}); please report this model"
                )
            worst = max(worst, gap)
    return worst


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
