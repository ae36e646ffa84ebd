"""Methods of rounds: I local steps, then every worker sends, and all receive the means."""

from abc import abstractmethod
from dataclasses import dataclass

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Array, Part
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rows import Rows
from prsgd.fields import whole


@dataclass
class Rounds(Algorithm):
    """A round that the end of the run cuts short ends with communication as well."""

    interval: int = whole(8, 1)

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if t % self.interval == 0:
            self.communicate(lr, workers)

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if t % self.interval:
            self.communicate(lr, workers)

    def communicate(self, lr: float, workers: Rows) -> None:
        """The end of a round, whose last step had learning rate `lr`."""
        self.receive(workers.mean(*self.send(workers)), lr, workers)

    @abstractmethod
    def send(self, workers: Rows) -> list[Part]:
        """What each worker sends."""

    @abstractmethod
    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        """What follows from the means, one (D,) for each part that was sent."""
