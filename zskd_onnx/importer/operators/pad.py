"""The Pad operator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.registry import operator

Ints = Sequence[int]


@operator("Pad", (2,))
def pad_attributes(x: Tensor, *, pads: Ints, mode: str = "constant", value: float = 0.0) -> Tensor:
    """``pad`` with its amounts and value as attributes."""
    return pad(x, pads, value, mode=mode)


@operator("Pad", (11, 13, 18, 19, 21, 23, 24, 25), host_inputs=(1, 2, 3))
def pad(
    x: Tensor, pads: Ints, value: float | None = None, axes: Ints | None = None, *, mode: str = "constant"
) -> Tensor:
    """Pad x; negative amounts crop it.

    Args:
        x: the tensor.
        pads: the amounts before each axis, then the amounts after each axis.
        value: the constant for mode "constant"; default 0.
        axes: the axes that ``pads`` is about; default all.
        mode: "constant", "edge", "reflect" or "wrap".

    Raises:
        NotImplementedError: the mode is another one.
    """
    chosen = tuple(range(x.ndim)) if axes is None else tuple(axis % x.ndim for axis in axes)
    amounts = {axis: (pads[i], pads[i + len(chosen)]) for i, axis in enumerate(chosen)}
    if mode == "constant":
        return F.pad(x, [n for axis in reversed(range(x.ndim)) for n in amounts.get(axis, (0, 0))], value=value or 0)
    for axis, (begin, end) in amounts.items():
        if begin or end:
            x = x.index_select(axis, _source(x, axis, begin, end, mode))
    return x


def _source(x: Tensor, axis: int, begin: int, end: int, mode: str) -> Tensor:
    """The position in x that each position of the padded axis copies."""
    size = x.shape[axis]
    position = torch.arange(-begin, size + end, device=x.device)
    if mode == "edge":
        return position.clamp(0, size - 1)
    if mode == "wrap":
        return position.remainder(size)
    if mode == "reflect":
        period = max(2 * (size - 1), 1)
        folded = position.remainder(period)
        return torch.minimum(folded, period - folded) if size > 1 else folded
    raise NotImplementedError(f"mode '{mode}'; expected constant, edge, reflect or wrap")
