"""Algorithm 3 of Yu, Yang and Zhu (1807.06629): fast workers take more steps in a round.

The paper has it for heterogeneous networks; its form here is ours: worker i takes its I_i steps and
then does nothing until the round ends with the plain average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from prsgd.algorithms.base import Algorithm, Workers
from prsgd.keys import choice, positives, whole, wholes


@dataclass
class HeterogeneousPRSGD(Algorithm):
    """I_i is given by `local_steps`, or follows from `speeds`: the fastest takes `interval` steps.

    Identical f_i: Theorem 1 holds with T -> rounds * mean(I_i) and I -> max(I_i). Different f_i:
    it converges to the optimum of sum_i I_i f_i / sum_i I_i, and not to that of sum_i f_i / N.
    """

    name: ClassVar[str] = "prsgd_heterogeneous"
    interval: int = whole(8, 1)
    local_steps: list[int] = wholes()
    speeds: list[float] = positives()
    momentum_at_sync: str = choice("average", "average", "keep", "reset")

    def __post_init__(self) -> None:
        if self.local_steps:  # which leave nothing to be read in the other two
            self.interval, self.speeds = max(self.local_steps), []

    @cached_property
    def steps_of(self) -> list[int]:
        """I_1 .. I_N."""
        fastest = max(self.speeds, default=1.0)
        return self.local_steps or [max(1, round(self.interval * v / fastest)) for v in self.speeds]

    def mistake(self, workers: int) -> str:
        if len(self.steps_of) == workers:
            return ""
        return (
            "needs local_steps=[I_1,...] or speeds=[v_1,...] with a number for each of the "
            f"{workers} workers"
        )

    def caution(self) -> str:
        if len(set(self.steps_of)) == 1:
            return ""
        return (
            "the workers' data differ and so do their steps: this converges towards the optimum of "
            f"the weighted mean of their losses with weights {self.steps_of}, not of the plain one"
        )

    def active(self, t: int) -> Sequence[int] | None:
        k = (t - 1) % max(self.steps_of)
        return [i for i, steps in enumerate(self.steps_of) if k < steps]

    def drawn(self, t: int, workers: int) -> int:
        rounds, k = divmod(t, max(self.steps_of))
        return rounds * sum(self.steps_of) + sum(min(k, steps) for steps in self.steps_of)

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.descend(lr)  # x_i <- x_i - lr * G_i, where worker i is active
        if t % max(self.steps_of) == 0:
            workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j

    def finish(self, t: int, workers: Workers) -> None:
        if t % max(self.steps_of):
            workers.average(self.momentum_at_sync)
