"""Thin a depthwise-separable network for Fashion-MNIST, and leave out parts of the method.

    ZSKD_DATA=folder python benchmarks/thin_depthwise.py [--seed 0]

The teacher is trained on first use and kept in ``--output``. Students see procedural images alone, or the real training
images without their labels (recipe ``kd``). Each line of JSON has the accuracy of one student on the 10,000 test images.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import data_folder, mnist
from teachers import SLIGHT, export_default
from thin_residual import PARTS, classes
from torch import nn

from zskd_onnx import compress

BATCH = 128
BLOCKS = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
"""Channels before and after a block, and its stride."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500, help=f"of {BATCH} samples")
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST; default: ZSKD_DATA")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/thin-depthwise"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    x, y, x_test, y_test = mnist(data_folder(options.data), "fashion-mnist")
    teacher, training = options.output / "teacher.onnx", options.output / "train.npz"
    if not teacher.exists():
        export_default(train(x, y), teacher)
        np.savez(training, x=x)
    images = (x_test / 255).astype(np.float32)[:, None]
    for recipe in ("kd", "procedural"):
        for without in (None, *PARTS):
            with ExitStack() as stack:
                if without is not None:
                    stack.enter_context(PARTS[without])
                result = compress(
                    teacher,
                    options.output / "out",
                    recipe=recipe,
                    data=training if recipe == "kd" else None,
                    student="thin:0.5",
                    seed=options.seed,
                    input_range=(0, 1),
                    overrides=[
                        "distillation.epochs=1",
                        f"distillation.epoch_samples={BATCH * options.steps}",
                        f"distillation.batch_size={BATCH}",
                        *(["distillation.loss_weights.labels=0"] if recipe == "kd" else []),
                    ],
                    overwrite=True,
                )
            accuracy = float((classes(result.student, images) == y_test).mean())
            row = {"recipe": recipe, "without": without, "seed": options.seed, "accuracy": round(100 * accuracy, 2)}
            print(json.dumps(row), flush=True)


def train(x: np.ndarray, y: np.ndarray, epochs: int = 6, batch: int = 256) -> nn.Module:
    """The teacher, for images (N, 1, 32, 32) in [0, 1]."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        *normalised(1, 16, 3, 2),
        *(layer for n, m, stride in BLOCKS for layer in (*normalised(n, n, 3, stride, n), *normalised(n, m, 1))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(BLOCKS[-1][1], 10),
    ).to(memory_format=torch.channels_last)
    images, labels = torch.from_numpy(x).float().div(255)[:, None], torch.from_numpy(y)
    steps = len(x) // batch
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        for indices in torch.randperm(len(x))[: steps * batch].split(batch):
            optimiser.zero_grad()
            F.cross_entropy(model(SLIGHT.apply(images[indices], rng)), labels[indices]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def normalised(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with batch normalisation and ReLU."""
    convolution = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


if __name__ == "__main__":
    main()
