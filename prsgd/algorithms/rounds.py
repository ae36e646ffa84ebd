"""Methods of rounds: I local steps, then every worker sends, and all receive the means."""

from abc import abstractmethod
from dataclasses import dataclass

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Array, Part
from prsgd.algorithms.interface import Workers
from prsgd.fields import momentum_at_sync, whole, with_moments


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

    def communicate(self, lr: float, workers: Workers) -> None:
        """The end of a round, whose last step had learning rate `lr`."""
        self.receive(workers.mean(*self.send(workers)), lr, workers)

    @abstractmethod
    def send(self, workers: Workers) -> list[Part]:
        """What each worker sends."""

    @abstractmethod
    def receive(self, means: list[Array], lr: float, workers: Workers) -> None:
        """What follows from the means, one (D,) for each part that was sent."""


@dataclass
class AveragesMoments(Algorithm):
    """A method that averages models. Its key says what that does to the optimiser's moments."""

    momentum_at_sync: str = momentum_at_sync(decides_curve=with_moments, kw_only=True)


@dataclass
class ModelAveraging(AveragesMoments, Rounds):
    """Rounds that send x_i and restart from a point that follows from x̄."""

    def send(self, workers: Workers) -> list[Part]:
        return [Part(workers.x), *workers.moments(self.momentum_at_sync)]

    def receive(self, means: list[Array], lr: float, workers: Workers) -> None:
        workers.restart(self.restart_point(means[0], lr, workers))
        workers.set_moments(self.momentum_at_sync, means[1:])

    def restart_point(self, mean: Array, lr: float, workers: Workers) -> Array:
        """The point (D,) that all workers go on from; here it is `mean`, the average x̄."""
        return mean
