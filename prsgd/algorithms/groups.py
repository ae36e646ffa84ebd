"""Averaging within nested groups of workers, between the rounds of all."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from prsgd.algorithms.interface import Workers
from prsgd.algorithms.participation import Participation
from prsgd.fields import groups


@dataclass
class Groups(Participation):
    """`groups` = {size: interval}: {2: 4} averages the models of successive pairs every 4 steps.

    Where several are due, only the largest are averaged, and where a round is, none.
    """

    groups: dict[int, int] | None = groups(kw_only=True)

    def check(self, workers: int) -> str:
        sizes = [*sorted(self.groups or {}), workers]
        if self.groups and (sizes[0] == 1 or any(b == a or b % a for a, b in pairwise(sizes))):
            return f"groups: 2 workers or more, whole groups make a larger one and all {workers}"
        for size, interval in (self.groups or {}).items():
            if interval % self.interval == 0:
                return (
                    f"groups: those of {size} never average on their own, as {interval} is a "
                    f"multiple of interval={self.interval}"
                )
        return super().check(workers)

    def average_groups(self, t: int, workers: Workers) -> None:
        """x_i <- mean_j x_j over the groups that are due in step t."""
        size = largest_due(self.groups or {}, t)
        if size and t % self.interval:
            workers.average(getattr(self, "momentum_at_sync", "keep"), size)


def largest_due(levels: Mapping[int, int], t: int) -> int:
    """Of {group size: interval} the largest size that is due in step t; 0 for none."""
    return max((size for size, interval in levels.items() if t % interval == 0), default=0)
