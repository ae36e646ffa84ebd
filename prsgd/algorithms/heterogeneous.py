"""Algorithm 3 of Yu, Yang and Zhu (1807.06629): fast workers take more steps in a round.

The paper has it for heterogeneous networks; its form here is ours: worker i takes its I_i steps and
then does nothing until the round ends with the plain average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.normalised import Normalised
from prsgd.fields import positives, wholes


@dataclass
class HeterogeneousPRSGD(Normalised):
    """I_i is given by `local_steps`, or follows from `speeds`: the fastest takes `interval` steps.

    Identical f_i: Theorem 1 holds with T -> rounds * mean(I_i) and I -> max(I_i). Different f_i:
    it converges to the optimum of sum_i I_i f_i / sum_i I_i, and with `weights` = equal to that of
    sum_i f_i / N.
    """

    name: ClassVar[str] = "prsgd_heterogeneous"
    title: ClassVar[str] = "PR-SGD, unequal steps"
    local_steps: list[int] = wholes()
    speeds: list[float] = positives()

    def __post_init__(self) -> None:
        if self.local_steps:  # which leave nothing to be read in the other two
            self.interval, self.speeds = max(self.local_steps), []

    @cached_property
    def steps_of(self) -> list[int]:
        """I_1 .. I_N, the largest of which is `interval`."""
        fastest = max(self.speeds, default=1.0)
        return self.local_steps or [max(1, round(self.interval * v / fastest)) for v in self.speeds]

    def check(self, workers: int) -> str:
        lists = "local_steps=[I_1,...] or speeds=[v_1,...]"
        missing = f"needs {lists} with a number for each of the {workers} workers"
        return "" if len(self.steps_of) == workers else missing

    def warning(self, info: RunInfo) -> str:
        warning = "the workers' data differ and so do their steps: this converges towards the "
        warning += f"optimum of the weighted mean of their losses with weights {self.steps_of}, "
        one_optimum = info.iid or len(set(self.steps_of)) == 1 or self.weights == "equal"
        return "" if one_optimum else warning + "not of the plain one (weights=equal does)"

    def active(self, t: int, info: RunInfo) -> Sequence[int] | None:
        return [i for i, steps in enumerate(self.steps_of) if (t - 1) % self.interval < steps]

    def batches_drawn(self, t: int, workers: int) -> int:
        rounds, k = divmod(t, self.interval)
        return rounds * sum(self.steps_of) + sum(min(k, steps) for steps in self.steps_of)
