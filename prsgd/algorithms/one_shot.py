"""One-shot averaging: N independent runs of SGD, averaged once at the end (Zinkevich et al. 2010).

It is Algorithm 1 with I = T.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.interface import Workers


@dataclass
class OneShot(Algorithm):
    """x = mean_i x_i^T; before the end, workers never speak."""

    name: ClassVar[str] = "one_shot"
    title: ClassVar[str] = "one-shot averaging"

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        workers.average("keep")  # nothing follows that would read them
