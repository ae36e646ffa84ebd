"""Parallel restarted SGD: Algorithm 1 of Yu, Yang and Zhu (AAAI 2019, 1807.06629).

Every worker takes I local steps, the models are averaged, and all restart from the average.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.averaging import ModelAveraging
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.streamed import PLAIN
from prsgd.fields import choice


@dataclass
class PRSGD(ModelAveraging):
    """`order` settles where in step t, t mod I = 0, the average is taken.

    restart: x_i^t = mean_j (x_j^{t-1} - lr G_j^t). I = 1 is exactly parallel mini-batch SGD.
    literal: x_i^t = (mean_j x_j^{t-1}) - lr G_i^t, as the listing reads word by word.
    """

    name: ClassVar[str] = "prsgd"
    title: ClassVar[str] = "PR-SGD"
    order: str = choice("restart", "restart", "literal")

    def check(self, workers: int) -> str:
        is_plain = all(getattr(self, key) == value for key, value in PLAIN.items())
        has_none = f"order=literal has no {', '.join(PLAIN)}"
        return super().check(workers) if self.order == "restart" or is_plain else has_none

    def step(self, t: int, lr: float, workers: Workers) -> None:
        if self.order == "literal" and t % self.interval == 0:
            self.communicate(lr, workers)  # x_i <- mean_j x_j
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if self.order == "restart":
            self.exchange(t, lr, workers)  # x_i <- mean_j x_j where t mod I = 0

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if self.order == "restart":
            super().finish(t, lr, workers)
        else:
            self.communicate(lr, workers)
