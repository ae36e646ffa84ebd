"""What an algorithm is, and all that it may touch of the workers.

An algorithm is a dataclass: its fields are its keys, read from conf/algorithm/<name>.yaml.
It decides who moves and who averages; it never sees a model, a process or a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol


class Workers(Protocol):
    """The N workers, as an algorithm sees them. The active ones have observed their gradients."""

    def descend(self, lr: float) -> None:
        """x_i <- x_i - lr * (the optimiser's direction for G_i), for every active worker."""

    def average(self, moments: str) -> None:
        """x_i <- mean_j x_j, one round of communication.

        What becomes of the optimiser's moments is said by `moments`: `average` sends them too (so
        the payload doubles), `keep` leaves each worker its own, `reset` sets them to zero.
        """

    def average_gradients(self) -> None:
        """G_i <- mean_j G_j, one round of communication."""


@dataclass
class Algorithm(ABC):
    """One parallel method. `step` is called for t = 1..T with G_i^t observed at x_i^{t-1}."""

    name: ClassVar[str]  # the first part of a run's folder name
    owns_lr: ClassVar[bool] = False  # whether it reads no schedule

    def mistake(self, workers: int) -> str:
        """Why its keys do not fit so many workers; empty where they do."""
        return ""

    def caution(self) -> str:
        """What to know where the workers' data differ, for instance what it converges to."""
        return ""

    def active(self, t: int) -> Sequence[int] | None:
        """The workers that compute in step t; None for all of them."""
        return None

    def drawn(self, t: int, workers: int) -> int:
        """The batches that all `workers` together have drawn in the steps 1..t."""
        return workers * t

    def lr(self, t: int, planned: float) -> float:
        """The learning rate of step t, of which the schedule says `planned`."""
        return planned

    @abstractmethod
    def step(self, t: int, lr: float, workers: Workers) -> None:
        """Everything that happens in step t, with learning rate `lr`."""

    @abstractmethod
    def finish(self, t: int, workers: Workers) -> None:
        """What is left to do after the last step, t = T."""
