"""What an algorithm is, and all that it may touch of the workers.

An algorithm is a dataclass: its fields are its keys, read from conf/algorithm/<name>.yaml.
It decides who moves and who averages; it never sees a model, a process or a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol


class Workers(Protocol):
    """The N workers, as an algorithm sees them. Every gradient is already observed."""

    def descend(self, lr: float) -> None:
        """x_i <- x_i - lr * (the optimiser's direction for G_i), for every worker."""

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

    @abstractmethod
    def step(self, t: int, lr: float, workers: Workers) -> None:
        """Everything that happens in step t, with learning rate `lr`."""

    @abstractmethod
    def finish(self, t: int, workers: Workers) -> None:
        """What is left to do after the last step, t = T."""
