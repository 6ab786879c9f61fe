"""The processes of one run, as torchrun starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """The place of this process among the processes of a run.

    Attributes:
        rank: number of this process, from 0. Rank 0 writes the run folder and prints the result.
        count: number of processes.
        local: number of this process on its machine, from 0, which is also that of its GPU.
        restarts: how often torchrun has started the processes again, after one of them had ended.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    restarts: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0


def ranks() -> Ranks:
    """The place of this process, from the environment that torchrun sets; without it, the process is alone."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    try:
        rank, count, local, restarts = (int(os.environ.get(name, "0")) for name in names)
    except ValueError:
        return Ranks()
    return Ranks(rank, count, local, restarts) if 0 <= rank < count else Ranks()
