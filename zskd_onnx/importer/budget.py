"""Limits on what a graph may allocate and compute, checked on tensors that hold nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
_WINDOWS = frozenset({_aten.avg_pool2d, _aten.avg_pool3d, _aten.max_pool2d_with_indices, _aten.max_pool3d_with_indices})
"""Operators that look at a window, their second argument, for each element that they make."""


class OverBudgetError(Exception):
    """A tensor or a sum of work exceeds the budget; the message says by which measure."""


class Budget(TorchDispatchMode):
    """Watches every torch operator that runs inside it, those in the middle of an ONNX operator too.

    It belongs around meta or fake tensors, where a tensor of any size costs nothing.

    Attributes:
        multiply_adds: of convolutions and matrix products so far.
        work: that, and what pooling windows see, and an operation for each element made.
    """

    def __init__(self, elements: int, work: int) -> None:
        """With the largest tensor, and the largest sum of work, that are allowed."""
        super().__init__()
        self.elements = elements
        self.allowed = work
        self.multiply_adds = 0
        self.work = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor):
                self._made(func._overloadpacket, args, kwargs, made)
        return result

    def _made(self, operator: Any, args: Any, kwargs: Any, made: Tensor) -> None:
        size = made.numel()
        if size > self.elements:
            raise OverBudgetError(f"a tensor of {size:,} elements, at most {self.elements:,} are allowed")
        if operator in flop_registry:
            count = flop_registry[operator](*args, **kwargs, out_val=made) // 2  # a multiply-add is two operations
            self.multiply_adds += count
            self.work += count
        elif operator in _WINDOWS:
            self.work += size * math.prod(args[1])
        self.work += size
        if self.work > self.allowed:
            raise OverBudgetError(f"more than {self.allowed:,} operations are not allowed")
