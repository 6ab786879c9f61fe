"""Networks and losses in plain torch: no module of this package, standard contiguous layout, eager mode."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation that ResNet-20 takes of CIFAR-10."""

WIDTHS = (16, 32, 64)


def lenet5(first: int = 6, second: int = 16) -> nn.Sequential:
    """LeNet-5 for images 1x32x32, initialised as in the ZSKD supplement; 3 and 8 filters make its half."""
    layers = nn.Sequential(
        *(nn.Conv2d(1, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(25 * second, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.zeros_(layer.bias)
    return layers


def lenet5_half() -> nn.Sequential:
    """LeNet-5 with half of its filters."""
    return lenet5(3, 8)


class Block(nn.Module):
    """Two convolutions and a shortcut, which subsamples and pads with zeros where the width grows."""

    def __init__(self, inputs: int, outputs: int, *, normalised: bool) -> None:
        super().__init__()
        self.stride, self.added = (1 if inputs == outputs else 2), outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=not normalised)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=not normalised)
        self.norm1 = nn.BatchNorm2d(outputs) if normalised else nn.Identity()
        self.norm2 = nn.BatchNorm2d(outputs) if normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.added:
            before = self.added // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.added - before))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for images 3x32x32 in [0, 1], with its batch normalisation folded or not."""

    def __init__(self, widths: tuple[int, int, int] = WIDTHS, *, normalised: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(-1, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=not normalised)
        self.norm1 = nn.BatchNorm2d(widths[0]) if normalised else nn.Identity()
        inputs = widths[0]
        for number, width in enumerate(widths, 1):
            blocks = [Block(inputs if i == 0 else width, width, normalised=normalised) for i in range(3)]
            self.add_module(f"layer{number}", nn.ModuleList(blocks))
            inputs = width
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_blocks(x)[0]

    def with_blocks(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (N, 10) and the outputs of the nine blocks."""
        x = F.relu(self.norm1(self.conv1((x - self.mean) / self.std)))
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3):
            for block in stage:
                x = block(x)
                outputs.append(x)
        return self.linear(x.mean((2, 3))), outputs


def weights_of(path: Path) -> dict[str, Tensor]:
    """The weights of a file whose exporter kept their names; a folded convolution's bias is ``NAME.weight_bias``."""
    import onnx
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    named = {name.replace(".weight_bias", ".bias"): array for name, array in arrays.items() if "." in name}
    return {name: torch.from_numpy(array.copy()) for name, array in named.items()}


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), mean over the batch."""
    targets = F.softmax(teacher / temperature, 1)
    return F.kl_div(F.log_softmax(student / temperature, 1), targets, reduction="batchmean") * temperature**2


def scaled_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference, divided by the variance of the teacher's values."""
    return F.mse_loss(student, teacher) / teacher.var().clamp_min(1e-12)
