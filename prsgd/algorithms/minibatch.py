"""Parallel mini-batch SGD: the baseline, which averages gradients in every step."""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.interface import Workers


@dataclass
class MiniBatchSGD(Algorithm):
    """x^t = x^{t-1} - lr * mean_i G_i^t, all workers at the same point."""

    name: ClassVar[str] = "minibatch"
    title: ClassVar[str] = "mini-batch SGD"

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.average_gradients()  # G_i <- mean_j G_j
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        pass
