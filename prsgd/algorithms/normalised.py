"""What a worker's loss weighs, where some take more steps than others.

`equal` is FedNova's rule for plain SGD (Wang et al., NeurIPS 2020, 2007.07481), with the sum of the
learning rates in place of the number of steps. The paper's text was not at hand.
"""

from dataclasses import dataclass
from statistics import fmean

from prsgd.algorithms.averaging import AveragesModels
from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows
from prsgd.fields import choice


@dataclass
class Normalised(AveragesModels, Rounds):
    """`weights` = steps: f_i weighs as many times as worker i takes steps, by the plain average.

    equal: all weigh the same, as x_i <- x + mean_j(Γ_j) / Γ_i (x_i - x) before that average, where
    x is the average of the last round, and Γ_i the sum of the learning rates since.
    """

    weights: str = choice("steps", "steps", "equal", kw_only=True)

    @property
    def needs_plain_sgd(self) -> bool:  # type: ignore[override]  # others know it of their class
        return self.weights == "equal"

    def begin(self, info: RunInfo, workers: Workers) -> None:
        if self.weights == "equal":
            workers.replicated("x_prev")[:] = workers.x[0]

    def step(self, t: int, lr: float, workers: Workers) -> None:
        if self.weights == "equal":
            for i in workers.computing:
                workers.scalars[f"lr_sum{i}"] = workers.scalars.get(f"lr_sum{i}", 0.0) + lr
        super().step(t, lr, workers)

    def send(self, workers: Rows) -> list[Part]:
        if self.weights == "equal":
            sums = [workers.scalars.pop(f"lr_sum{i}") for i in range(workers.count)]
            factors = workers.own([fmean(sums) / own if own else 1.0 for own in sums])
            x = workers.replicated("x_prev")
            workers.x[:] = x + factors * (workers.x - x)
        return super().send(workers)

    def restart_point(self, mean: Array, lr: float, workers: Rows) -> Array:
        if self.weights == "equal":
            workers.replicated("x_prev")[:] = mean
        return mean
