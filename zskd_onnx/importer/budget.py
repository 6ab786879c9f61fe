"""Limits on the memory and the computation of torch code, checked on tensors without data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
_POOLING = frozenset({_aten.avg_pool2d, _aten.avg_pool3d, _aten.max_pool2d_with_indices, _aten.max_pool3d_with_indices})
"""Operators that read a window of elements for each output element; its size is their second argument."""


class OverBudgetError(Exception):
    """A tensor or the sum of operations exceeds its limit; the message says which."""


class Budget(TorchDispatchMode):
    """A context that limits the torch operators inside it, and counts their operations.

    It sees every operator that torch dispatches, also several inside one ONNX operator. Use it
    with meta or fake tensors, which have a shape but no data.

    Attributes:
        multiply_adds: multiply-adds of convolutions and matrix products so far.
        work: operations so far: the multiply-adds, the elements that pooling windows read, and
            one for each element of every result.
    """

    def __init__(self, elements: int, work: int) -> None:
        """Set the limits.

        Args:
            elements: largest number of elements of one tensor.
            work: largest number of operations in total.
        """
        super().__init__()
        self.elements = elements
        self.allowed = work
        self.multiply_adds = 0
        self.work = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it.

        Raises:
            OverBudgetError: a limit is exceeded.
        """
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        for output in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(output, Tensor):
                self._count(func._overloadpacket, args, kwargs, output)
        return result

    def _count(self, operator: Any, args: Any, kwargs: Any, output: Tensor) -> None:
        size = output.numel()
        if size > self.elements:
            raise OverBudgetError(f"a tensor of {size:,} elements, at most {self.elements:,} are allowed")
        if operator in flop_registry:
            count = flop_registry[operator](*args, **kwargs, out_val=output) // 2  # one multiply-add is two operations
            self.multiply_adds += count
            self.work += count
        elif operator in _POOLING:
            self.work += size * math.prod(args[1])
        self.work += size
        if self.work > self.allowed:
            raise OverBudgetError(f"more than {self.allowed:,} operations, which is the limit")
