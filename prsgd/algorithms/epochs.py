"""Algorithm 2 of Yu, Yang and Zhu (1807.06629): learning rates that fall as intervals grow.

The rule is the paper's as we recall it, generalised to any power law; its rate and its number of
rounds are checked by `prsgd verify`.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, ClassVar

from prsgd.algorithms.base import Algorithm, Workers
from prsgd.keys import auto_or_positive, choice, fraction, positive, whole


@dataclass
class PRSGDEpochs(Algorithm):
    """Epoch s: K^s = ceil(a s^p) local steps at lr^s = min(cap, c / s^q), and then the average.

    The paper's schedule: a = 1/N, p = 1/3, c = N, q = 2/3, and the cap 1/L.
    """

    name: ClassVar[str] = "prsgd_epochs"
    owns_lr: ClassVar[bool] = True
    workers: int = whole(4, 1)
    cap: float = positive(0.4)
    steps_scale: Any = auto_or_positive()
    steps_power: float = fraction(1 / 3, one=True)
    lr_scale: Any = auto_or_positive()
    lr_power: float = fraction(2 / 3, one=True)
    momentum_at_sync: str = choice("average", "average", "keep", "reset")

    def mistake(self, workers: int) -> str:
        return "" if self.workers == workers else f"algorithm.workers must be workers={workers}"

    def epoch(self, t: int) -> tuple[int, int]:
        """(s, its last step) of the epoch s = 1, 2, ... that step t belongs to."""
        a = 1 / self.workers if self.steps_scale == "auto" else self.steps_scale
        ends = _ends(a, self.steps_power)
        while ends[-1] < t:
            almost = 1e-9  # 512^(1/3) / 8 is 1, however it is rounded
            ends.append(ends[-1] + max(1, ceil(a * len(ends) ** self.steps_power - almost)))
        s = bisect_left(ends, t)
        return s, ends[s]

    def lr(self, t: int, planned: float) -> float:
        c = self.workers if self.lr_scale == "auto" else self.lr_scale
        return float(min(self.cap, c / self.epoch(t)[0] ** self.lr_power))

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.descend(lr)  # x_i <- x_i - lr^s * G_i
        if t == self.epoch(t)[1]:
            workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j

    def finish(self, t: int, workers: Workers) -> None:
        if t != self.epoch(t)[1]:
            workers.average(self.momentum_at_sync)


@lru_cache
def _ends(a: float, power: float) -> list[int]:
    """The last steps of the epochs 0, 1, ... found so far."""
    return [0]
