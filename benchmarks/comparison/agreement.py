"""A converted classifier against onnxruntime, and its input gradient against the original module's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from timm_models import Reference
from torch import Tensor, nn

from comparison.converter import Converter
from comparison.verdict import Verdict
from zskd_onnx.runtime import open_session, run

VALUES = 1e-3
"""Largest difference allowed, relative to the largest value where that exceeds one."""

GRADIENT = 1e-2
"""Length of the difference, relative to the original's."""


def agrees(converter: Converter, path: Path, sizes: Sequence[int], reference: Reference | None = None) -> Verdict:
    """Convert a file, run it at each batch size, and compare.

    Args:
        sizes: batch sizes; a file that fixes its own runs in onnxruntime piece by piece.
        reference: the input gradient too, where given.
    """
    module = converter.classifier(path)
    session, logits = open_with_logits(path)
    (declared,) = session.get_inputs()
    generator = np.random.default_rng(0)
    for size in sizes:
        x = generator.uniform(-1, 1, (size, *declared.shape[1:])).astype(np.float32)
        with torch.no_grad():
            ours = scores(module(torch.from_numpy(x)))
        given = run(session, x)
        open_to = float(np.spacing(np.abs(given.pop()).max())) if logits else 0.0
        gap = distance(ours, scores(given))
        if not gap <= VALUES + open_to:
            return Verdict("wrong", f"differs by {gap:.1e} at batch size {size}")
    return gradient_agrees(module, reference) if reference is not None else Verdict("pass")


def open_with_logits(path: Path) -> tuple[Any, bool]:
    """A session, and whether it gives, last of all, what goes into a final softmax.

    A softmax is only as exact as its input: where that is 1e10, as in a model whose weights are
    all alike, float32 rounds it to the next thousand, and the order of a sum decides the rest.
    """
    model = onnx.load(path)
    last = next((n for n in model.graph.node if model.graph.output[0].name in n.output), None)
    if last is None or last.op_type != "Softmax":
        return open_session(str(path)), False
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    return open_session(model.SerializeToString()), True


def scores(outputs: Any) -> np.ndarray:
    """The output that holds the classes: the first of floating-point values, or of maps from label to value."""
    several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in several]
    maps = [np.array([list(m.values()) for m in x]) for x in arrays if x.size and isinstance(x.flat[0], dict)]
    return next(x for x in [*maps, *arrays] if x.dtype.kind == "f")


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.size != theirs.size or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours.reshape(theirs.shape) - theirs).max() / max(1.0, float(np.abs(theirs).max())))


def gradient_agrees(module: nn.Module, reference: Reference) -> Verdict:
    inputs = torch.from_numpy(reference.x).requires_grad_()
    outputs = module(inputs)
    logits = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    along = (logits.flatten(1) * torch.from_numpy(reference.direction)).sum()
    gap = reference.gradient_gap(torch.autograd.grad(along, inputs)[0])
    return Verdict("pass") if gap <= GRADIENT else Verdict("wrong", f"the gradient differs by {gap:.1e}")
