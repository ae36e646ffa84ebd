"""When processes have computed a step, if each worker's steps take a time of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from prsgd.distributed.placement import groups_of, hosts, placement

Array = Any  # of float64


@dataclass(frozen=True)
class Averaging:
    """A round, as a record knows it."""

    step: int  # t
    group: int  # workers that average among themselves; N for all
    local_steps: list[int]  # of each of the N workers since the round before


@dataclass(frozen=True)
class Pace:
    """How fast workers are. The unit of time is one of their steps."""

    speeds: list[float]  # (N,)
    jitter: float = 0.0  # standard deviation of a step's time, as a share of its mean

    def times(self, steps: int, draws: Generator) -> Array:
        """(steps, N): gamma-distributed."""
        ones = np.ones((steps, len(self.speeds)))
        if self.jitter:
            shape = 1 / self.jitter**2
            ones = draws.gamma(shape, 1 / shape, ones.shape)
        return ones / self.speeds


def clocks(
    averagings: Sequence[Averaging],
    steps: int,
    delay: int,
    processes: int,
    pace: Pace,
    draws: Generator,
) -> Array:
    """(T + 1,): when the last process has done step t = 0..T = `steps`; sending takes no time.

    In a round they wait for each other, within groups for those of their group, and `delay` steps
    later where means may be late.
    """
    workers = len(pace.speeds)
    placed = placement(workers, processes)
    hosted = np.array([[worker in span for span in placed] for worker in range(workers)], float)
    sizes = {own.group for own in averagings}
    ranks = {size: [hosts(group, placed) for group in groups_of(workers, size)] for size in sizes}
    ends, now = [0.0], np.zeros(processes)
    due: dict[int, float] = {}  # by step: when the last process had sent what is used there
    left = steps - (averagings[-1].step if averagings else 0)
    for own in [*averagings, Averaging(steps, 0, [left] * workers)]:
        times = pace.times(own.step - len(ends) + 1, draws)
        steps_done = np.arange(1, len(times) + 1)[:, None] <= np.array(own.local_steps)
        for busy in (times * steps_done) @ hosted:
            now = now + busy
            now = np.maximum(now, due.pop(len(ends), 0.0))
            ends.append(float(now.max()))
        if delay:
            due[own.step + delay] = float(now.max())
        else:
            for group in ranks.get(own.group, []):
                now[group] = now[group].max()
    return np.array(ends)
