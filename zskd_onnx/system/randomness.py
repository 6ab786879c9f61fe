"""Random generators for each purpose, derived from one seed."""

from __future__ import annotations

import hashlib

import torch


def seed_for(seed: int, *purpose: object) -> int:
    """A 63-bit seed that depends on the run's seed and on a purpose.

    Purposes are independent of each other: the third batch of impressions is the same whether or not the
    first two were drawn in this process.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch random generator, seeded with ``seed_for``."""
    return torch.Generator(device=device).manual_seed(seed_for(seed, *purpose))
