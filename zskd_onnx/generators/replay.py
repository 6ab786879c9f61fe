"""A replay buffer of generated samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MAX_BYTES = 2**28
"""Largest size of a replay buffer."""


class ReplayBuffer:
    """The latest samples of a generator, stored as float16.

    Attributes:
        capacity: largest number of stored samples; a buffer of 0 does nothing.
    """

    def __init__(self, samples: int, shape: tuple[int, ...], device: torch.device) -> None:
        """
        Args:
            samples: requested capacity; it is limited to ``MAX_BYTES``.
            shape: shape of one sample.
            device: device that holds the buffer.
        """
        self.capacity = min(samples, MAX_BYTES // (2 * torch.Size(shape).numel()))
        self._samples = torch.empty((self.capacity, *shape), dtype=torch.float16, device=device)
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, x: Tensor) -> None:
        """Store samples (N, *shape); a full buffer drops its oldest samples."""
        if not self.capacity:
            return
        x = x[-self.capacity :].to(self._samples.dtype)
        self._samples[(self._added + torch.arange(len(x), device=x.device)) % self.capacity] = x
        self._added += len(x)

    def mixed(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """A batch of the size of x in random order: half from x and half from the buffer; x if the buffer is empty.

        Args:
            rng: random generator on x's device.
        """
        if not len(self):
            return x
        count = len(x) // 2
        stored = torch.randint(len(self), (count,), generator=rng, device=x.device)
        new = torch.randperm(len(x), generator=rng, device=x.device)[count:]
        both = torch.cat([x[new], self._samples[stored].to(x.dtype)])
        both = both[torch.randperm(len(x), generator=rng, device=x.device)]
        return both.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else both

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {"samples": self._samples[: len(self)].clone(), "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from ``state_dict``."""
        self._added = int(state["added"])
        self._samples[: len(self)] = state["samples"]
