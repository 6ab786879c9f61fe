"""Padding of spatial axes, shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

Ints = tuple[int, ...]


def for_rank(functions: Mapping[int, Callable[..., Tensor]], rank: int) -> Callable[..., Tensor]:
    """torch's function for a number of spatial axes.

    Args:
        functions: number of spatial axes -> function.
        rank: number of spatial axes.

    Raises:
        NotImplementedError: torch has none.
    """
    if rank not in functions:
        raise NotImplementedError(f"{rank} spatial axes; expected 1 to 3")
    return functions[rank]


def resolve_pads(
    size: Sequence[int], kernel: Ints, strides: Ints, dilations: Ints, pads: Ints | None, auto_pad: str
) -> tuple[list[int], list[int]]:
    """The padding before and after each spatial axis.

    Args:
        size: spatial size of the input.
        kernel: spatial size of the kernel.
        strides: the stride on each axis.
        dilations: the dilation on each axis.
        pads: amounts before each axis, then amounts after each axis; None means zero.
        auto_pad: NOTSET (use ``pads``), VALID, SAME_UPPER or SAME_LOWER.

    Returns:
        The amounts before and the amounts after each axis.
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
    """Pad the last axes of x with a constant; negative amounts crop."""
    amounts = [n for pair in zip(reversed(begin), reversed(end), strict=True) for n in pair]
    return F.pad(x, amounts, value=value)
