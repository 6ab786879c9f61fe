"""What a generator made before, for a student that shall not forget it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MEMORY_BYTES = 2**28
"""Largest size of what is held."""


class Memory:
    """The latest samples of a generator, as float16.

    Attributes:
        capacity: samples that it holds at most; 0 keeps none.
    """

    def __init__(self, samples: int, shape: tuple[int, ...], device: torch.device) -> None:
        """For as many samples of ``shape`` as asked for and as ``MEMORY_BYTES`` hold."""
        self.capacity = min(samples, MEMORY_BYTES // (2 * torch.Size(shape).numel()))
        self._held = torch.empty((self.capacity, *shape), dtype=torch.float16, device=device)
        self._seen = 0

    def __len__(self) -> int:
        return min(self._seen, self.capacity)

    def add(self, x: Tensor) -> None:
        """Keep samples (N, *shape); where there is no room, the oldest leave."""
        if not self.capacity:
            return
        x = x[-self.capacity :].to(self._held.dtype)
        self._held[(self._seen + torch.arange(len(x), device=x.device)) % self.capacity] = x
        self._seen += len(x)

    def mixed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A batch of the same size, in random order: half of it x's, half drawn from memory; x where nothing is held.

        Args:
            generator: on x's device.
        """
        if not len(self):
            return x
        count = len(x) // 2
        drawn = torch.randint(len(self), (count,), generator=generator, device=x.device)
        kept = torch.randperm(len(x), generator=generator, device=x.device)[count:]
        both = torch.cat([x[kept], self._held[drawn].to(x.dtype)])
        both = both[torch.randperm(len(x), generator=generator, device=x.device)]
        return both.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else both

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on from here."""
        return {"held": self._held[: len(self)].clone(), "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seen = int(state["seen"])
        self._held[: len(self)] = state["held"]
