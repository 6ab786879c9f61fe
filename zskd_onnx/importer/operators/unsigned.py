"""Unsigned integers that torch stores but does not compute with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WIDE = frozenset({torch.uint16, torch.uint32, torch.uint64})


def widens_unsigned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute uint16, uint32 and uint64 in int64; a result of that type is narrowed again.

    Sums and products wrap as ONNX's do. A uint64 of 2**63 and more does not fit: order and
    division see it as negative.
    """

    @functools.wraps(function)
    def compute(*inputs: Any, **attributes: Any) -> Tensor:
        narrow = next((x.dtype for x in inputs if isinstance(x, Tensor) and x.dtype in WIDE), None)
        if narrow is None:
            return function(*inputs, **attributes)
        wide = [x.to(torch.int64) if isinstance(x, Tensor) and x.dtype in WIDE else x for x in inputs]
        result = function(*wide, **attributes)
        return result.to(narrow) if result.dtype == torch.int64 else result

    return compute
