"""Does the exported file do what the student did, and does it fit where the teacher was?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch

from zskd_onnx.errors import ParityError
from zskd_onnx.export.onnx import Replacement
from zskd_onnx.system.onnx_runtime import run
from zskd_onnx.teacher.signature.output import Labels

BATCHES = (1, 2, 7)
TOLERANCE = 1e-4
"""Largest difference allowed, times the largest magnitude of the output where that exceeds one."""

HALF_TOLERANCE = 2e-3
"""The same where the output is in half precision: two units in the last place."""


@dataclass(frozen=True)
class Parity:
    """How far two runtimes are apart on one model.

    Attributes:
        max_abs_difference: over all values of all batches.
        tolerance: what was allowed.
    """

    max_abs_difference: float
    tolerance: float


def check_interface(session: ort.InferenceSession, teacher: ort.InferenceSession, output_name: str) -> None:
    """Names, types and shapes of the student's input and output against the teacher's.

    Raises:
        ParityError: the student does not fit in the teacher's place; the message says where.
    """
    ours, theirs = session.get_inputs(), teacher.get_inputs()
    if [i.name for i in ours] != [i.name for i in theirs]:
        raise ParityError(f"inputs {[i.name for i in ours]}, the teacher has {[i.name for i in theirs]}")
    pairs = [("input", ours[0], theirs[0])]
    outputs = {o.name: o for o in teacher.get_outputs()}
    given = {o.name: o for o in session.get_outputs()}
    if output_name not in given or not given.keys() <= outputs.keys():
        raise ParityError(f"outputs {list(given)}, the teacher has {list(outputs)}, classes in '{output_name}'")
    pairs += [("output", value, outputs[name]) for name, value in given.items()]
    for what, a, b in pairs:
        if a.type != b.type:
            raise ParityError(f"{what} '{a.name}' has type {a.type}, the teacher's {b.type}")
        if a.shape and isinstance(a.shape[0], int):
            raise ParityError(f"{what} '{a.name}' fixes the batch size to {a.shape[0]}, expected a free one")
        same = [m == n for m, n in zip(a.shape[1:], b.shape[1:], strict=False) if isinstance(n, int)]
        if len(a.shape) != len(b.shape) or not all(same):
            raise ParityError(f"{what} '{a.name}' has shape {a.shape}, the teacher's {b.shape}")


def check_values(
    session: ort.InferenceSession, replacement: Replacement, labels: Sequence[Labels], unit: torch.Tensor
) -> Parity:
    """Compare onnxruntime with torch at batch sizes 1, 2 and 7.

    Args:
        labels: outputs that must name the winner.
        unit: samples in the unit space, one or more.

    Raises:
        ParityError: a difference over the tolerance, naming batch size and value.
    """
    domain = replacement.domain
    unit = unit[torch.arange(sum(BATCHES)) % len(unit)]
    relative = HALF_TOLERANCE if replacement.output.dtype == torch.float16 else TOLERANCE
    worst, scale = 0.0, 1.0
    first = 0
    for size in BATCHES:
        part = unit[first : first + size].float()
        first += size
        x = domain.to_array(domain.to_file(part))
        try:
            theirs, *named = run(session, x, [replacement.output.name, *(label.name for label in labels)])
            with torch.no_grad():
                ours = replacement(torch.from_numpy(x)).numpy()
        except Exception as error:  # a module of the user's may refuse a batch in its own way
            reason = " ".join(str(error).split())[:300]
            raise ParityError(
                f"output at batch size {size}: it does not run ({type(error).__name__}: {reason})"
            ) from error
        if ours.shape != theirs.shape or not np.isfinite(theirs).all():
            raise ParityError(
                f"output at batch size {size}: shape {theirs.shape}, expected finite values of shape {ours.shape}"
            )
        scale = max(scale, float(np.abs(ours).max()))
        gap = float(np.abs(ours - theirs).max())
        worst = max(worst, gap)
        if gap > relative * scale:
            raise ParityError(
                f"output '{replacement.output.name}' at batch size {size}: onnxruntime differs from torch by {gap:.3g}, "
                f"tolerance {relative * scale:.3g}"
            )
        winners = replacement.output.winners(theirs)
        for label, names in zip(labels, named, strict=True):
            if (np.array(label.names, dtype=object)[winners] != names.reshape(-1)).any():
                raise ParityError(f"output '{label.name}' does not name the class with the largest value")
    return Parity(worst, relative * scale)
