"""The quadratic synchronisation rule (Gu et al., ICLR 2024, 2310.14423).

It agrees with the authors' code (hmgxr128/QSR): the learning rate is that of a round's first step,
the last round ends with the run, and H is constant in the warm-up. Here it is then the peak's.
"""

from dataclasses import dataclass
from math import floor
from typing import ClassVar

from prsgd.algorithms.averaging import AveragesMoments
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.fields import positive, whole


@dataclass
class QSR(AveragesMoments):
    """Algorithm 1 with H = max(H_base, floor((alpha / lr)^2)) steps in a round; H_base = I."""

    name: ClassVar[str] = "qsr"
    title: ClassVar[str] = "QSR"
    interval: int = whole(8, 1)
    alpha: float = positive(0.4)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        peak = max(range(1, info.steps + 1), key=info.lr)
        workers.scalars |= {"end": 0, "peak": peak, "peak_lr": info.lr(peak)}

    def step(self, t: int, lr: float, workers: Workers) -> None:
        numbers = workers.scalars
        if t > numbers["end"]:
            first = lr if t >= numbers["peak"] else numbers["peak_lr"]
            numbers["end"] = (
                t - 1 + max(self.interval, floor(min(self.alpha / first, 1e6) ** 2 + 1e-9))
            )
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if t == numbers["end"]:
            workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if t < workers.scalars["end"]:
            workers.average(self.momentum_at_sync)
