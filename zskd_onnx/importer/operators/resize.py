"""Resize and Upsample: separable interpolation, one axis after the other.

Each output position is mapped to a coordinate in the input. The values at the input positions
around it (its taps) are summed with the weights of a kernel. ONNX's modes select the mapping and
the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator

TAP_LIMIT = 4096
"""Largest number of input positions that one output position depends on along an axis."""

Ints = Sequence[int]
Floats = Sequence[float]


@dataclass(frozen=True)
class Interpolation:
    """How one axis is resized, from the attributes of ONNX's Resize.

    Attributes:
        mode: "nearest", "linear" or "cubic".
        coordinates: ``coordinate_transformation_mode``.
        nearest: ``nearest_mode``, how "nearest" rounds a coordinate.
        cubic: ``cubic_coeff_a``, the coefficient of the cubic kernel.
        exclude_outside: whether taps outside the input have weight 0.
        extrapolation: value outside the input for "tf_crop_and_resize".
        antialias: whether the kernel is widened when the axis shrinks.
    """

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False


@operator("Upsample", (7,))
def upsample_attribute(x: Tensor, *, scales: Floats, mode: str = "nearest") -> Tensor:
    """``resize_10`` with the scales as an attribute."""
    return resize_10(x, scales, mode=mode)


@operator("Upsample", (9, 10), host_inputs=(1,))
@operator("Resize", (10,), host_inputs=(1,))
def resize_10(x: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Resize by scales; coordinates are divided by the scale.

    "nearest" rounds down when an axis grows, and up when it shrinks.
    """
    for axis, scale in enumerate(scales):
        how = Interpolation(_mode(mode), "asymmetric", "floor" if scale >= 1 else "ceil")
        x = _resize_axis(x, axis, scale, _scaled(x.shape[axis], scale), (0.0, 1.0), how)
    return x


@operator("Resize", (11, 13, 18, 19), host_inputs=(1, 2, 3))
def resize(
    x: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize to ``sizes``, or by ``scales``, along ``axes``.

    The keyword arguments are the attributes of ONNX's Resize.

    Args:
        x: the tensor.
        roi: start and end of the region along each axis, for "tf_crop_and_resize".
        scales: factor for each axis.
        sizes: new size of each axis.
        axes: the axes that the arguments above are about; default all.

    Raises:
        ValueError: neither scales nor sizes are set.
        NotImplementedError: a mode is not supported.
    """
    how = Interpolation(
        _mode(mode),
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        extrapolation_value,
        bool(antialias),
    )
    chosen = tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)
    if sizes:
        ratios = [size / x.shape[axis] for axis, size in zip(chosen, sizes, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            ratio = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(chosen)
            sizes = [math.floor(ratio * x.shape[axis] + 0.5) for axis in chosen]
    elif scales:
        ratios = list(scales)
        sizes = [_scaled(x.shape[axis], ratio) for axis, ratio in zip(chosen, ratios, strict=True)]
    else:
        raise ValueError("neither scales nor sizes are set; the file is damaged, export it again")
    for i, (axis, ratio, size) in enumerate(zip(chosen, ratios, sizes, strict=True)):
        region = (roi[i], roi[i + len(chosen)]) if roi else (0.0, 1.0)
        x = _resize_axis(x, axis, ratio, size, region, how)
    return x


def _mode(mode: str) -> str:
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise NotImplementedError(f"mode '{mode}'; expected nearest, linear or cubic")
    return "linear" if mode == "bilinear" else mode


def _scaled(size: int, scale: float) -> int:
    """A size times a scale, rounded down after a product in single precision, as runtimes compute it."""
    return size if scale == 1 else int(np.floor(np.float32(size) * np.float32(scale)))


def _resize_axis(
    x: Tensor, axis: int, scale: float, size: int, region: tuple[float, float], how: Interpolation
) -> Tensor:
    crops = how.coordinates == "tf_crop_and_resize"
    if scale == 1 and size == x.shape[axis] and not (crops and region != (0.0, 1.0)):
        return x
    length = x.shape[axis]
    coordinate = _coordinates(torch.arange(size, dtype=torch.float64, device=x.device), length, scale, region, how)
    along = (-1, *(1,) * (x.ndim - axis - 1))
    if how.mode == "nearest":
        y = x.index_select(axis, _nearest(coordinate, how.nearest).clamp(0, length - 1).long())
    else:
        positions, weights = _taps(coordinate, length, scale, how)
        weights = weights.to(x.dtype if x.is_floating_point() else torch.float32)
        parts = [x.index_select(axis, positions[:, k]) * weights[:, k].reshape(along) for k in range(weights.shape[1])]
        y = torch.stack(parts).sum(0).to(x.dtype)
    if not crops:
        return y
    outside = (coordinate < 0) | (coordinate > length - 1)
    return y.masked_fill(outside.reshape(along), how.extrapolation)


def _coordinates(i: Tensor, length: int, scale: float, region: tuple[float, float], how: Interpolation) -> Tensor:
    """The coordinate in the input of each output position."""
    exact = length * scale
    match how.coordinates:
        case "asymmetric":
            return i / scale
        case "align_corners":
            return i * 0 if exact == 1 else i * (length - 1) / (exact - 1)
        case "half_pixel":
            return (i + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (i + 0.5) / scale - 0.5 if i.shape[0] > 1 else i * 0
        case "half_pixel_symmetric":
            return length / 2 * (1 - i.shape[0] / exact) + (i + 0.5) / scale - 0.5
        case "tf_half_pixel_for_nn":
            return (i + 0.5) / scale
        case "tf_crop_and_resize":
            start, end = region
            if i.shape[0] == 1:
                return i * 0 + (start + end) / 2 * (length - 1)
            return (start + i * (end - start) / (i.shape[0] - 1)) * (length - 1)
    raise NotImplementedError(f"coordinate_transformation_mode '{how.coordinates}' is not supported")


def _nearest(coordinate: Tensor, mode: str) -> Tensor:
    """Coordinates rounded to positions."""
    match mode:
        case "round_prefer_floor":
            return torch.ceil(coordinate - 0.5)
        case "round_prefer_ceil":
            return torch.floor(coordinate + 0.5)
        case "floor":
            return torch.floor(coordinate)
        case "ceil":
            return torch.ceil(coordinate)
    raise NotImplementedError(f"nearest_mode '{mode}' is not supported")


def _taps(coordinate: Tensor, length: int, scale: float, how: Interpolation) -> tuple[Tensor, Tensor]:
    """Input positions (size, taps) and their weights; positions outside the input repeat its edge."""
    shrink = min(scale, 1.0) if how.antialias else 1.0
    radius = math.ceil((1 if how.mode == "linear" else 2) / shrink)
    if 2 * radius > TAP_LIMIT:
        raise NotImplementedError(f"a filter over {2 * radius} positions, at most {TAP_LIMIT} are supported")
    offsets = torch.arange(1 - radius, radius + 1, device=coordinate.device)
    positions = coordinate.floor().long().unsqueeze(1) + offsets
    distance = (positions - coordinate.unsqueeze(1)).abs() * shrink
    weights = (1 - distance).clamp(min=0) if how.mode == "linear" else _cubic(distance, how.cubic)
    if how.exclude_outside:
        weights = weights * ((positions >= 0) & (positions < length))
    if how.exclude_outside or how.antialias:
        weights = weights / weights.sum(1, keepdim=True)
    return positions.clamp(0, length - 1), weights


def _cubic(d: Tensor, a: float) -> Tensor:
    """The cubic convolution kernel at distance d (Keys 1981)."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
