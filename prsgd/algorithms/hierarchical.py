"""Hierarchical local SGD: nested groups of workers (Lin et al., 1808.07217; also 2010.12998).

Groups are averaged as PyTorch's HierarchicalModelAverager does: where several intervals divide t,
only the largest group's average is taken. (It counts steps from 0, and so averages a step early.)
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from prsgd.algorithms.averaging import AveragesMoments
from prsgd.algorithms.groups import largest_due
from prsgd.algorithms.interface import Workers
from prsgd.fields import whole_to_whole


@dataclass
class Hierarchical(AveragesMoments):
    """`levels` = {group size: interval}: {4: 2, 8: 16} averages fours every 2 steps, all every 16.

    Groups are successive workers, and the last level is all of them.
    """

    name: ClassVar[str] = "hierarchical"
    title: ClassVar[str] = "hierarchical"
    has_reference: ClassVar[bool] = False
    levels: dict[int, int] = whole_to_whole(
        "{group size: interval, ...} up to all workers, as in {2: 4, 8: 16}"
    )

    @property
    def interval(self) -> int:
        """I, between two averagings of all workers."""
        return self.levels[max(self.levels)]

    def check(self, workers: int) -> str:
        sizes = sorted(self.levels)
        if not sizes or sizes[-1] != workers:
            return f"levels must end with all workers, as in {{{workers}: 16}}"
        if sizes[0] == 1 < workers or any(b % a for a, b in pairwise(sizes)):
            return f"levels: groups of 2 or more, made of whole groups of the one before: {sizes}"
        return ""

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if size := largest_due(self.levels, t):
            workers.average(self.momentum_at_sync, size)  # x_i <- mean_j x_j over its group

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if t % self.interval:
            workers.average(self.momentum_at_sync)
