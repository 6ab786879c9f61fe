"""AlexNet for small images and its half-size version (ZSKD supplement, table 2)."""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn

from zskd_onnx.importer.operators.normalization import local_response_normalization
from zskd_onnx.students.zoo.architecture import Shape, needs_images, student

# A leaf in traces: it reads shapes.
torch.fx.wrap("local_response_normalization")


class ResponseNorm(nn.LocalResponseNorm):
    """torch's local response normalisation, in a third of its time. Files get torch's operators, which have no weights."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            return super().forward(input)
        return local_response_normalization(input, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)


def _alexnet(shape: Shape, classes: int, halves: int) -> nn.Sequential:
    channels, height, width = shape
    a, b, c, d, e, f = (n // halves for n in (48, 128, 192, 128, 512, 256))

    def pooled(n: int) -> int:
        for _ in range(3):
            n = (n - 3) // 2 + 1
        return n

    def norm() -> nn.Module:
        # TensorFlow's alpha (1e-4) multiplies the sum over 2 * radius + 1 channels, torch's alpha the mean.
        return ResponseNorm(5, alpha=5e-4, beta=0.75, k=1.0)

    layers = nn.Sequential(
        *(nn.Conv2d(channels, a, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(a)),
        *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(b)),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(c)),
        *(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(c)),
        *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(d)),
        nn.Flatten(),
        *(nn.Linear(d * pooled(height) * pooled(width), e), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(e)),
        *(nn.Linear(e, f), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(f)),
        nn.Linear(f, classes),
    )
    weighted = [layer for layer in layers if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for number, layer in enumerate(weighted):
        nn.init.normal_(layer.weight, std=0.01)
        assert layer.bias is not None
        nn.init.constant_(layer.bias, 1.0 if number in (1, 3, 4) else 0.0)
    return layers


@student("alexnet", "AlexNet for small images, with local response and batch normalisation", needs_images(15))
def alexnet(shape: Shape, classes: int) -> nn.Sequential:
    """The teacher of the ZSKD supplement's table 2."""
    return _alexnet(shape, classes, 1)


@student("alexnet-half", "AlexNet with half the filters and units", needs_images(15))
def alexnet_half(shape: Shape, classes: int) -> nn.Sequential:
    """The student of the ZSKD supplement's table 2."""
    return _alexnet(shape, classes, 2)
