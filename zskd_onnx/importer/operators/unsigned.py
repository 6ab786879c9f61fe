"""Arithmetic on unsigned integer types that torch stores but does not compute with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WIDE = frozenset({torch.uint16, torch.uint32, torch.uint64})
"""Types that torch stores but does not compute with."""


def widens_unsigned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorate an operator to compute uint16, uint32 and uint64 in int64.

    A result in int64 is converted back, so sums and products wrap around as in ONNX. A uint64 from
    2**63 on does not fit: comparisons and divisions see it as negative.
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
