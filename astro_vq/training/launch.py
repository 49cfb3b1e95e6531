"""Which of several processes this one is, as ``torchrun`` says; loads no torch."""

import os
from collections.abc import Mapping
from typing import NamedTuple


class Launch(NamedTuple):
    """The place of a process among those that train together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    local_rank : int
        Number of this process among those on its machine: that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Return what ``torchrun`` has put into the environment; one process without it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(name in environment for name in names):
            return cls()
        return cls(*(int(environment[name]) for name in names))
