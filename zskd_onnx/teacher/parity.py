"""The gate: an import counts only if it computes what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from zskd_onnx.errors import ParityError, UnsupportedTeacherError
from zskd_onnx.importer.file.source import Source
from zskd_onnx.importer.file.subgraph import keep_needed
from zskd_onnx.importer.passes.single_precision import ROUNDED_TO
from zskd_onnx.system.onnx_runtime import open_session, run
from zskd_onnx.teacher.quantisation_step import quantisation_step, rounds_to_integers
from zskd_onnx.teacher.teacher import Teacher

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest value where that exceeds one."""

HALF_TOLERANCE = {ir.DataType.FLOAT16: 1e-2, ir.DataType.BFLOAT16: 8e-2}
"""The same of files in half precision, which runtimes round at different places."""

KEPT = 1 << 26
"""Values of one sample up to which onnxruntime may keep all of them."""

NOISE_SAMPLES = 16
"""On which a deep quantised file is compared with itself."""


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference, over max(1, largest magnitude); infinite where either is not finite."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return float("inf")
    return float(np.abs(ours - theirs).max()) / _scale(theirs)


def open_source(
    source: Source, outputs: Sequence[str], *, optimise: bool = True, reuse_memory: bool = True
) -> ort.InferenceSession:
    """A session on a teacher's file as it was read, inputs fixed, and no more of it than is needed.

    Args:
        outputs: what to compute: outputs, or inner values.
        optimise, reuse_memory: see ``open_session``.

    Raises:
        UnsupportedTeacherError: onnxruntime cannot load it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    for name in set(outputs) - {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    keep_needed(model, outputs)
    try:
        return open_session(
            model.SerializeToString(), folder=source.path.parent, optimise=optimise, reuse_memory=reuse_memory
        )
    except Exception as error:
        raise UnsupportedTeacherError(f"{source.path}: onnxruntime cannot load it ({_reason(error)})") from error


def check_parity(teacher: Teacher, scores_name: str | None, generator: torch.Generator) -> float:
    """Compare file output and scores with onnxruntime on random inputs at two batch sizes.

    The scores are compared too, where the file names them: a saturated softmax hides differences.
    And the logits must give the file's output back, the way that a student's will.

    The file is run node by node, as it is written: the optimiser fuses quantised ones into integer
    kernels that round elsewhere. Where a sum lies between two integers, the order of additions
    decides which it becomes, so one quantisation step is allowed; and as many more as
    onnxruntime differs from itself with its optimiser, for in deep files such steps add up. On x86
    without VNNI the optimised run is the one whose integer sums are exact, so agreeing with that is
    enough.

    Args:
        scores_name: the scores' name in the file, or None.

    Returns:
        The largest difference.

    Raises:
        ParityError: a difference over the tolerance.
        UnsupportedTeacherError: onnxruntime cannot run the file.
    """
    path, name = teacher.source.path, teacher.output.name
    model = teacher.source.model
    quantised = rounds_to_integers(model)
    named = any(scores_name in node.output for node in teacher.source.proto.graph.node)
    wanted = list(dict.fromkeys([name, scores_name] if named and scores_name is not None else [name]))
    # The optimiser computes what no run needs, such as the constants of a branch never taken.
    large = teacher.cost.activations > KEPT
    session = open_source(teacher.source, wanted, optimise=False, reuse_memory=large)
    values = [next((v for v in model.graph.outputs if v.name == w), model.graph.outputs[0]) for w in wanted]
    tolerance = HALF_TOLERANCE.get(model.meta.get(ROUNDED_TO, ir.DataType.FLOAT), TOLERANCE)
    batch = session.get_inputs()[0].shape[0]
    sizes = (batch, 2 * batch) if isinstance(batch, int) else (2, 3)
    worst = 0.0
    noise: list[float] = []
    fused: ort.InferenceSession | None = None
    for size in sizes:
        shape = (size, *teacher.domain.shape)
        x = teacher.domain.to_array(teacher.domain.to_file(torch.rand(shape, generator=generator)))
        try:
            given = run(session, x, wanted)
        except Exception as error:
            raise UnsupportedTeacherError(f"{path}: onnxruntime cannot run it ({_reason(error)})") from error
        if not all(np.isfinite(values).all() for values in given):
            raise UnsupportedTeacherError(
                f"{path}: answers NaN or infinity, by onnxruntime, to inputs drawn from its domain; say the right one with "
                "--input-range, and look at the constants of --fix"
            )
        try:
            imported = _run_teacher(teacher, torch.from_numpy(x), len(wanted))
        except RuntimeError as error:
            raise UnsupportedTeacherError(
                f"{path}: the graph does not run at batch size {size} ({_reason(error)}); export it with a free batch size"
            ) from error
        # Logits so large that float32 cannot hold them to the tolerance decide alone: a softmax of
        # such is made of rounding.
        coarse = np.spacing(np.float32(np.abs(given[-1]).max())) > tolerance
        for what, ours, i, steps in imported[2:] if coarse and len(wanted) > 1 else imported:
            theirs, mine = given[i], ours.numpy()
            mine = mine.reshape(theirs.shape) if mine.size == theirs.size else mine
            gap = difference(mine, theirs)
            allowed = tolerance
            if quantised:
                allowed += steps * quantisation_step(values[i], theirs) / _scale(theirs)
            if quantised and gap > allowed:
                fused = fused or open_source(teacher.source, wanted)
                gap = min(gap, difference(mine, run(fused, x, wanted)[i]))
                if gap > allowed:
                    noise = noise or _own_noise(teacher, session, fused, wanted, generator)
                    allowed += noise[i]
            if gap > allowed:
                raise ParityError(
                    f"{path}: {what.format(*wanted)} at batch size {size} differs from onnxruntime by {gap:.3g} "
                    f"(tolerance {allowed:g}); please report this model"
                )
            worst = max(worst, gap)
    return worst


def _own_noise(
    teacher: Teacher,
    plain: ort.InferenceSession,
    fused: ort.InferenceSession,
    wanted: list[str],
    generator: torch.Generator,
) -> list[float]:
    """How far onnxruntime's optimiser moves each value of a file, from a session without it to one with it."""
    unit = torch.rand((NOISE_SAMPLES, *teacher.domain.shape), generator=generator)
    x = teacher.domain.to_array(teacher.domain.to_file(unit))
    return [difference(a, b) for a, b in zip(run(fused, x, wanted), run(plain, x, wanted), strict=True)]


@torch.no_grad()
def _run_teacher(teacher: Teacher, x: torch.Tensor, count: int) -> list[tuple[str, torch.Tensor, int, int]]:
    """What the import gives: its name in messages, the values, which value of the file, tolerances allowed."""
    x = x if x.is_floating_point() else x.float()
    # A quantised softmax saturates below one and rounds as it likes: its logits may be two steps away.
    steps = 2 if rounds_to_integers(teacher.source.model) else 1
    found = [
        ("output '{0}'", teacher(x), 0, 1),
        ("output '{0}' from logits", teacher.output.from_logits(teacher.logits(x)), 0, steps),
        ("'{1}'", teacher.scores(x), 1, 1),
    ]
    return found if count > 1 else found[:2]


def _scale(values: np.ndarray) -> float:
    """What differences are relative to."""
    return max(1.0, float(np.abs(values).max()))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
