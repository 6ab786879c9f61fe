"""Teachers for the benchmarks: trained on real data, exported to ONNX in many ways."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from zskd_onnx.distillation.augmentation import Augmentation
from zskd_onnx.students.zoo.registry import STUDENTS

SLIGHT = Augmentation(fraction=0.5, rotation=5, scale=(0.95, 1.05), shift=0.03)
"""Of a pixel or two: with it LeNet-5 reaches the 99.34 % of the ZSKD paper's teacher; 99.2 without."""


def train_teacher(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    epochs: int = 20,
    batch: int = 256,
    augmentation: Augmentation | None = None,
    architecture: str = "lenet5",
) -> nn.Module:
    """LeNet-5 of the ZSKD supplement, or another of the zoo, on images (N, 32, 32) in [0, 255].

    One-cycle Adam takes 20 epochs where the supplement takes 200 at a constant rate.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(x).float().div(255)[:, None].contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y)
    model = STUDENTS[architecture].build((1, 32, 32), 10).to(memory_format=torch.channels_last)
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            inputs = images[chosen] if augmentation is None else augmentation.apply(images[chosen], generator)
            optimiser.zero_grad()
            F.cross_entropy(model(inputs), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def export_default(
    model: nn.Module, path: Path, shape: tuple[int, int, int] = (1, 32, 32), *, folded: bool = True
) -> None:
    """torch's default exporter, opset 18, free batch, one file, for samples of a shape (C, H, W).

    Without its optimiser, ``folded=False``, batch normalisation stays.
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
