"""Spatial padding as convolution and pooling share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

Ints = tuple[int, ...]


def for_rank(functions: Mapping[int, Callable[..., Tensor]], rank: int) -> Callable[..., Tensor]:
    """torch's function for a number of spatial axes."""
    if rank not in functions:
        raise NotImplementedError(f"{rank} spatial axes")
    return functions[rank]


def resolve_pads(
    size: Sequence[int], kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial axis, from ``pads`` or ``auto_pad``.

    Args:
        size: spatial size of the input.
        pads: ONNX order, all begins and then all ends; None means zero.
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
    """
    rank = len(kernel)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = [], []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            small, large = total // 2, total - total // 2
            begin.append(small if auto_pad == "SAME_UPPER" else large)
            end.append(large if auto_pad == "SAME_UPPER" else small)
        return begin, end
    if auto_pad == "VALID" or pads is None:
        return [0] * rank, [0] * rank
    return list(pads[:rank]), list(pads[rank:])


def pad_spatial(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the trailing axes of ``x`` with a constant; negative amounts crop."""
    amounts = [n for pair in zip(reversed(begin), reversed(end), strict=True) for n in pair]
    return F.pad(x, amounts, value=value)
