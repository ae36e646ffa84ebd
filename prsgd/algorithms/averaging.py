"""Methods that average models."""

from dataclasses import dataclass

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Array, Part
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.streamed import Streamed
from prsgd.fields import momentum_at_sync, with_moments


@dataclass
class AveragesMoments(Algorithm):
    """A method that averages models. Its key says what that does to the optimiser's moments."""

    momentum_at_sync: str = momentum_at_sync(decides_curve=with_moments, kw_only=True)


@dataclass
class AveragesModels(AveragesMoments):
    """Workers send x_i and restart from a point that follows from x̄."""

    def send(self, workers: Rows) -> list[Part]:
        return [Part(workers.x), *workers.moments(self.momentum_at_sync)]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        workers.restart(self.restart_point(means[0], lr, workers))
        workers.set_moments(self.momentum_at_sync, means[1:])

    def restart_point(self, mean: Array, lr: float, workers: Rows) -> Array:
        """The point (D,) that all workers go on from; here it is `mean`, the average x̄."""
        return mean


@dataclass
class ModelAveraging(AveragesModels, Streamed):
    """The same in rounds that may be in fragments, and late."""
