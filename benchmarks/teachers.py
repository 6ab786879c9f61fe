"""Teachers for the benchmarks: training on real data, and several ways to export them to ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.students.zoo.architecture import STUDENTS

SLIGHT = Augmentation(fraction=0.5, rotation=5, scale=(0.95, 1.05), shift=0.03, crop=0)
"""Moves by a pixel or two, with which LeNet-5 reaches the 99.34 % of the ZSKD paper (99.2 % without)."""


def train_teacher(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    epochs: int = 20,
    batch: int = 256,
    augmentation: Augmentation | None = None,
    architecture: str = "lenet5",
) -> nn.Module:
    """Train LeNet-5 of the ZSKD supplement, or another architecture of the zoo.

    One-cycle Adam needs 20 epochs; the supplement trains for 200 at a constant learning rate.

    Args:
        x: images (N, 32, 32) in [0, 255].
        y: classes (N,).
        augmentation: augmentation of all batches; None for none.

    Returns:
        The model in inference mode, for images (N, 1, 32, 32) in [0, 1].
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(x).float().div(255)[:, None].contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y)
    model = STUDENTS[architecture].build((1, 32, 32), 10).to(memory_format=torch.channels_last)
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(epochs):
        for indices in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            inputs = images[indices] if augmentation is None else augmentation.apply(images[indices], rng)
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), labels[indices]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def export_default(
    model: nn.Module, path: Path, shape: tuple[int, int, int] = (1, 32, 32), *, folded: bool = True
) -> None:
    """Export with torch's default exporter: opset 18, free batch size, a single file.

    Args:
        shape: shape of one sample, (C, H, W).
        folded: whether the exporter's optimiser runs, which folds batch normalisation into
            convolutions.
    """
    batch = torch.export.Dim("batch")
    example = torch.zeros(2, *shape)
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        optimize=folded,
        verbose=False,
    )


def _legacy(opset: int, *, softmax: bool = False, fixed: bool = False) -> Callable[[nn.Module, Path], None]:
    """A function that exports with torch's legacy exporter.

    Args:
        softmax: whether the file ends in a softmax.
        fixed: whether the batch size is fixed to 1.
    """

    def export(model: nn.Module, path: Path) -> None:
        whole = nn.Sequential(model, nn.Softmax(1)) if softmax else model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                whole.eval(),
                (torch.zeros(1, 1, 32, 32),),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=["image"],
                output_names=["probabilities" if softmax else "logits"],
                dynamic_axes=None if fixed else {"image": {0: "batch"}},
            )

    return export


EXPORTS: dict[str, Callable[[nn.Module, Path], None]] = {
    "default exporter": export_default,
    "legacy, opset 9": _legacy(9),
    "legacy, opset 17": _legacy(17),
    "legacy, softmax": _legacy(17, softmax=True),
    "legacy, batch fixed at 1": _legacy(17, fixed=True),
}
