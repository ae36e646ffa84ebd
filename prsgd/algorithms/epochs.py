"""Algorithm 2 of Yu, Yang and Zhu (1807.06629): learning rates that fall as intervals grow.

As we recall it, for any power law; `prsgd verify` checks its rate and its number of rounds.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, ClassVar

from prsgd.algorithms.averaging import AveragesMoments
from prsgd.algorithms.interface import Workers
from prsgd.fields import auto_or_positive, fraction, positive, whole


@dataclass
class PRSGDEpochs(AveragesMoments):
    """Epoch s: K^s = ceil(a s^p) local steps at lr^s = min(cap, c / s^q), and then the average.

    The paper: a = 1/N, p = 1/3, c = N, q = 2/3, cap = 1/L."""

    name: ClassVar[str] = "prsgd_epochs"
    title: ClassVar[str] = "PR-SGD, falling γ"
    owns_lr: ClassVar[bool] = True
    workers: int = whole(4, 1)
    cap: float = positive(0.4)
    steps_scale: Any = auto_or_positive()
    steps_power: float = fraction(1 / 3, one=True)
    lr_scale: Any = auto_or_positive()
    lr_power: float = fraction(2 / 3, one=True)

    def check(self, workers: int) -> str:
        return "" if self.workers == workers else f"algorithm.workers must be workers={workers}"

    @cached_property
    def ends(self) -> list[int]:
        """The last steps of the epochs 0, 1, ... found so far."""
        return [0]

    def epoch(self, t: int) -> tuple[int, int]:
        """(s, its last step) of the epoch s = 1, 2, ... that step t belongs to."""
        a = 1 / self.workers if self.steps_scale == "auto" else self.steps_scale
        while self.ends[-1] < t:  # 512^(1/3) / 8 is 1, however it is rounded
            steps = max(1, ceil(a * len(self.ends) ** self.steps_power - 1e-9))
            self.ends.append(self.ends[-1] + steps)
        return (s := bisect_left(self.ends, t)), self.ends[s]

    def lr(self, t: int, planned: float) -> float:
        c = self.workers if self.lr_scale == "auto" else self.lr_scale
        return float(min(self.cap, c / self.epoch(t)[0] ** self.lr_power))

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.optimizer_step(lr)  # x_i <- x_i - lr^s * G_i
        if t == self.epoch(t)[1]:
            workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if t != self.epoch(t)[1]:
            workers.average(self.momentum_at_sync)
