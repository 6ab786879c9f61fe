"""Compare a converted classifier with onnxruntime, and its input gradient with the original module's."""

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
from zskd_onnx.system.onnx_runtime import open_session, run

VALUES = 1e-3
"""Largest allowed difference of values, as ``distance`` measures it."""

GRADIENT = 1e-2
"""Largest allowed norm of a gradient's error, relative to the original's norm."""


def agrees(converter: Converter, path: Path, sizes: Sequence[int], reference: Reference | None = None) -> Verdict:
    """Convert a file, run it at each batch size, and compare it with onnxruntime.

    Args:
        converter: the converter.
        path: the file.
        sizes: batch sizes. If the file fixes its own, onnxruntime runs in batches of that size.
        reference: the original's gradient to compare with, or None.
    """
    module = converter.classifier(path)
    session, logits = open_with_logits(path)
    (declared,) = session.get_inputs()
    rng = np.random.default_rng(0)
    for size in sizes:
        x = rng.uniform(-1, 1, (size, *declared.shape[1:])).astype(np.float32)
        with torch.no_grad():
            converted = scores(module(torch.from_numpy(x)))
        expected = run(session, x)
        rounding = float(np.spacing(np.abs(expected.pop()).max())) if logits else 0.0
        gap = distance(converted, scores(expected))
        if not gap <= VALUES + rounding:
            return Verdict("wrong", f"differs by {gap:.1e} at batch size {size}")
    return gradient_agrees(module, reference) if reference is not None else Verdict("pass")


def open_with_logits(path: Path) -> tuple[Any, bool]:
    """Open a session, and add the input of a final softmax as its last output.

    A softmax is only as exact as its input. For logits of 1e10, as with equal weights, neighbouring
    float32 numbers are 1000 apart, and the order of a summation decides the result.

    Returns:
        The session, and whether the output was added.
    """
    model = onnx.load(path)
    last = next((n for n in model.graph.node if model.graph.output[0].name in n.output), None)
    if last is None or last.op_type != "Softmax":
        return open_session(str(path)), False
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    return open_session(model.SerializeToString()), True


def scores(outputs: Any) -> np.ndarray:
    """The class scores of a model's outputs: the first map from labels to values, or floating-point array."""
    several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in several]
    maps = [np.array([list(m.values()) for m in x]) for x in arrays if x.size and isinstance(x.flat[0], dict)]
    return next(x for x in [*maps, *arrays] if x.dtype.kind == "f")


def distance(converted: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest expected value if that exceeds 1."""
    if converted.size != expected.size or not np.isfinite(converted).all():
        return float("inf")
    return float(np.abs(converted.reshape(expected.shape) - expected).max() / max(1.0, float(np.abs(expected).max())))


def gradient_agrees(module: nn.Module, reference: Reference) -> Verdict:
    """Compare the input gradient along the reference's direction."""
    inputs = torch.from_numpy(reference.x).requires_grad_()
    outputs = module(inputs)
    logits = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    along = (logits.flatten(1) * torch.from_numpy(reference.direction)).sum()
    gap = reference.gradient_gap(torch.autograd.grad(along, inputs)[0])
    return Verdict("pass") if gap <= GRADIENT else Verdict("wrong", f"the gradient differs by {gap:.1e}")
