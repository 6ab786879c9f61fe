"""Networks that make samples from noise (Micaelli & Storkey 2019; Ferles et al. 2020, appendix B, table 3)."""

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
"""Convolution, batch normalisation and transposed convolution by the number of spatial axes."""

FIRST_SIDE = 8
"""Largest side of the first activation map."""

MIN_CHANNELS = 16
"""Number of channels below which a map's channels are not halved."""

MAX_ELEMENTS, MAX_WORK = 2**28, 2**42
"""Limits for a forward pass of two samples: elements of one tensor (1 GiB), and operations."""


def build_generator(
    shape: tuple[int, ...],
    *,
    latent_dim: int = 100,
    width: int = 128,
    output: Literal["sigmoid", "clip", "linear"] = "sigmoid",
) -> nn.Module:
    """A network from noise (N, latent_dim) to samples (N, *shape) of the unit space, in training mode.

    For samples (C, 32, 32) and width 128 it is the network of the papers. A linear layer gives 128 maps
    of 8x8. Nearest-neighbour upsampling, convolution, batch normalisation and leaky ReLU give 128 maps
    of 16x16, and again 64 maps of 32x32. A convolution and a batch normalisation give the sample. (The
    last row of the replication's table repeats 128 to 64; that convolution must give the image's
    channels.)

    Sides above 32 take more upsampling steps, each of which halves the channels. Vectors have two hidden
    layers of ``2 * width`` units. Initial weights are drawn from torch's global generator.

    Args:
        shape: shape of a sample: (F,), (C, L), (C, H, W) or (C, D, H, W).
        latent_dim: length of a noise vector.
        width: number of channels of the first map, at least 2; the other maps follow from it.
        output: how the values v of the last batch normalisation, which are about N(0, 1), become samples.
            "sigmoid" maps them to (0, 1). "clip" cuts them off at 0 and 1: with an untrained generator half
            of the values are 0, like the background of many images. "linear" is 0.5 + 0.25 v, which is
            unbounded as in the papers.

    Raises:
        UsageError: the shape is of another rank, or the network is too large.
    """
    if len(shape) - 1 not in (0, *LAYERS):
        raise UsageError(
            f"a generator makes vectors, sequences, images or volumes, not samples of shape {shape}; "
            "use a recipe without a generator"
        )
    try:
        with torch.device("meta"), Budget(MAX_ELEMENTS, MAX_WORK):
            _net(shape, latent_dim, width, output)(torch.empty(2, latent_dim))
    except OverBudgetError as error:
        raise UsageError(
            f"a generator of width {width} for samples of shape {shape} is too large ({error}); lower generator.width"
        ) from error
    return _net(shape, latent_dim, width, output)


def _net(shape: tuple[int, ...], latent_dim: int, width: int, output: str) -> nn.Sequential:
    if len(shape) > 1:
        layers = _convolutions(shape, latent_dim, width)
    else:
        layers = _fully_connected(shape[0], latent_dim, 2 * width)
    return nn.Sequential(*layers, OUTPUTS[output]())


def _fully_connected(features: int, latent_dim: int, units: int) -> list[nn.Module]:
    return [
        *(nn.Linear(latent_dim, units), nn.BatchNorm1d(units), nn.LeakyReLU(0.2, inplace=True)),
        *(nn.Linear(units, units), nn.BatchNorm1d(units), nn.LeakyReLU(0.2, inplace=True)),
        *(nn.Linear(units, features), nn.BatchNorm1d(features)),
    ]


def _convolutions(shape: tuple[int, ...], latent_dim: int, width: int) -> list[nn.Module]:
    channels, *sides = shape
    convolution, normalisation, _ = LAYERS[len(sides)]
    doublings = max(2, math.ceil(math.log2(max(sides) / FIRST_SIDE)))
    first, *larger = [tuple(math.ceil(side / 2**remaining) for side in sides) for remaining in range(doublings, -1, -1)]
    layers = [nn.Linear(latent_dim, width * math.prod(first)), _Maps(first), normalisation(width)]
    before, size, fewest = width, first, min(width // 2, MIN_CHANNELS)
    for stage, doubled in enumerate(larger):
        after = max(width >> stage, fewest)
        layers += [_UpsampledConvolution(before, after, size, doubled), normalisation(after)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        before, size = after, doubled
    return [*layers, convolution(before, channels, 3, padding=1), normalisation(channels)]


class _Maps(nn.Module):
    """Reshapes units (N, positions * C) to maps (N, C, *sides) in channels-last memory format, which is faster."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (*self.sides, -1)).movedim(-1, 1)


class _UpsampledConvolution(nn.Module):
    """Nearest-neighbour upsampling by two and a convolution of kernel size 3 with padding 1, as one operation.

    Upsampling repeats each value, so the weights that multiply the same value are summed beforehand.
    The result is a transposed convolution of kernel size 4 and stride 2, with 2.25 times fewer products
    for images.
    """

    def __init__(self, before: int, after: int, size: tuple[int, ...], doubled: tuple[int, ...]) -> None:
        """From maps of ``size`` to maps of ``doubled``; for an odd side, the first position is dropped."""
        super().__init__()
        convolution, _, self.transposed = LAYERS[len(size)]
        self.convolution = convolution(before, after, 3, padding=1)
        self.dropped = [2 * small - large for small, large in zip(size, doubled, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        positions = range(2, x.ndim)
        kernel = self.convolution.weight.transpose(0, 1).flip(*positions)
        for axis in positions:
            zero = torch.zeros_like(kernel.narrow(axis, 0, 1))
            kernel = torch.cat([kernel, zero], axis) + torch.cat([zero, kernel], axis)
        padding = [1 + dropped for dropped in self.dropped]
        return self.transposed(x, kernel, self.convolution.bias, stride=2, padding=padding, output_padding=self.dropped)


class _Clipped(nn.Module):
    """Clamps v to [0, 1] with a straight-through gradient, so that values outside can return."""

    def forward(self, v: Tensor) -> Tensor:
        return v + (v.clamp(0, 1) - v).detach()


class _AroundMiddle(nn.Module):
    """Returns 0.5 + 0.25 v: two standard deviations reach the ends of the unit space."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 + 0.25 * x


OUTPUTS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "clip": _Clipped, "linear": _AroundMiddle}
"""Last module by the value of ``output``; see ``build_generator``."""
