"""The nets that make samples from noise (Micaelli & Storkey 2019; Ferles et al. 2020, appendix B, table 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zskd_onnx.errors import UsageError
from zskd_onnx.importer.budget import Budget, OverBudgetError

Layers = tuple[type[nn.Conv1d | nn.Conv2d | nn.Conv3d], type[nn.Module], Callable[..., Tensor]]

LAYERS: dict[int, Layers] = {
    1: (nn.Conv1d, nn.BatchNorm1d, F.conv_transpose1d),
    2: (nn.Conv2d, nn.BatchNorm2d, F.conv_transpose2d),
    3: (nn.Conv3d, nn.BatchNorm3d, F.conv_transpose3d),
}
"""Convolution, normalisation and transposed convolution, by the number of axes that hold positions."""

FIRST_SIDE = 8
"""Largest side of the first map."""

LEAST_CHANNELS = 16
"""Channels of a map are not halved below this."""

MAX_ELEMENTS, MAX_WORK = 2**28, 2**42
"""Of one tensor (1 GiB), and operations of a forward pass, for two samples."""


def build_generator(
    shape: tuple[int, ...],
    *,
    noise: int = 100,
    width: int = 128,
    output: Literal["sigmoid", "clip", "linear"] = "sigmoid",
) -> nn.Module:
    """A net from noise (N, noise) to samples (N, *shape) in the unit space, in training mode.

    With samples of (C, 32, 32) and the default width it is the papers' net: a linear layer gives 128 maps
    of 8x8; two times nearest upsampling, convolution, batch normalisation and leaky ReLU give 128 maps of
    16x16 and 64 of 32x32; a convolution and batch normalisation give the sample. (The replication's table
    repeats 128 to 64 in its last row; that convolution gives the image's channels.) Sides above 32 take
    more doublings and halve the channels on. Vectors have two hidden layers of ``2 * width`` units.

    Initial weights come from torch's global generator.

    Args:
        shape: of a sample: (F,), (C, L), (C, H, W) or (C, D, H, W).
        noise: length of the noise.
        width: channels of the first map, at least 2; the others follow.
        output: what becomes of the last normalisation's values v, which are about N(0, 1): "sigmoid"
            puts them into (0, 1); "clip" cuts them off at 0 and 1, so that half of a young generator's
            values are 0, as the background of many pictures is; "linear" gives 0.5 + 0.25 v, without a bound as in the papers.

    Raises:
        UsageError: samples of another rank, or a net that is too large.
    """
    if len(shape) - 1 not in (0, *LAYERS):
        raise UsageError(
            f"a generator makes vectors, sequences, images or volumes, not samples of shape {shape}; "
            "choose a recipe without one"
        )
    try:
        with torch.device("meta"), Budget(MAX_ELEMENTS, MAX_WORK):
            _net(shape, noise, width, output)(torch.empty(2, noise))
    except OverBudgetError as error:
        raise UsageError(
            f"a generator of width {width} for samples of shape {shape} is too large ({error}); lower the width"
        ) from error
    return _net(shape, noise, width, output)


def _net(shape: tuple[int, ...], noise: int, width: int, output: str) -> nn.Sequential:
    layers = _convolutions(shape, noise, width) if len(shape) > 1 else _fully_connected(shape[0], noise, 2 * width)
    return nn.Sequential(*layers, OUTPUTS[output]())


def _fully_connected(features: int, noise: int, units: int) -> list[nn.Module]:
    return [
        *(nn.Linear(noise, units), nn.BatchNorm1d(units), nn.LeakyReLU(0.2, inplace=True)),
        *(nn.Linear(units, units), nn.BatchNorm1d(units), nn.LeakyReLU(0.2, inplace=True)),
        *(nn.Linear(units, features), nn.BatchNorm1d(features)),
    ]


def _convolutions(shape: tuple[int, ...], noise: int, width: int) -> list[nn.Module]:
    channels, *sides = shape
    convolution, normalisation, _ = LAYERS[len(sides)]
    doublings = max(2, math.ceil(math.log2(max(sides) / FIRST_SIDE)))
    first, *larger = [tuple(math.ceil(side / 2**remaining) for side in sides) for remaining in range(doublings, -1, -1)]
    layers = [nn.Linear(noise, width * math.prod(first)), _Maps(first), normalisation(width)]
    before, size, least = width, first, min(width // 2, LEAST_CHANNELS)
    for stage, doubled in enumerate(larger):
        after = max(width >> stage, least)
        layers += [_UpsampledConvolution(before, after, size, doubled), normalisation(after)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        before, size = after, doubled
    return [*layers, convolution(before, channels, 3, padding=1), normalisation(channels)]


class _Maps(nn.Module):
    """Units (N, positions * C) as maps (N, C, *sides), channels innermost in memory: faster to convolve."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (*self.sides, -1)).movedim(-1, 1)


class _UpsampledConvolution(nn.Module):
    """Nearest upsampling by two, then a convolution of 3 taps a side with padding 1, as one operation.

    Upsampling repeats each value, so the taps that meet the same value are summed beforehand: that is
    a transposed convolution of 4 taps and stride 2, with 2.25 times fewer products for images.
    """

    def __init__(self, before: int, after: int, size: tuple[int, ...], doubled: tuple[int, ...]) -> None:
        """From maps of ``size`` to maps of ``doubled``; an odd side there lacks the first position."""
        super().__init__()
        convolution, _, self.transposed = LAYERS[len(size)]
        self.convolution = convolution(before, after, 3, padding=1)
        self.lacking = [2 * small - large for small, large in zip(size, doubled, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        positions = range(2, x.ndim)
        kernel = self.convolution.weight.transpose(0, 1).flip(*positions)
        for axis in positions:
            zero = torch.zeros_like(kernel.narrow(axis, 0, 1))
            kernel = torch.cat([kernel, zero], axis) + torch.cat([zero, kernel], axis)
        padding = [1 + lacking for lacking in self.lacking]
        return self.transposed(x, kernel, self.convolution.bias, stride=2, padding=padding, output_padding=self.lacking)


class _Clipped(nn.Module):
    """v brought into [0, 1]; the gradient passes as if it had not been, or what is outside would stay there."""

    def forward(self, v: Tensor) -> Tensor:
        return v + (v.clamp(0, 1) - v).detach()


class _AroundMiddle(nn.Module):
    """0.5 + 0.25 v: two standard deviations reach the ends of the unit space."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 + 0.25 * x


OUTPUTS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "clip": _Clipped, "linear": _AroundMiddle}
"""What becomes of the last normalisation's values; see ``build_generator``."""
