"""What an algorithm is told of the run, and what it may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any  # a float32 tensor in a run, a float64 NumPy array on a problem of `theory`


@dataclass(frozen=True)
class RunInfo:
    """The run, as it is known before its first step."""

    workers: int  # N
    steps: int  # T
    steps_per_epoch: float
    lr: Callable[[int], float]  # γ of step t = 1..T, as scheduled
    iid: bool = True  # whether all workers draw from the same data
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Part:
    """Rows (K, D) to be averaged over all N workers, and what they are a difference from.

    The reference is a point (D,) that every worker knows, so that a worker may send `rows -
    reference`: "restart" is the point of the last restart, "mean" is the mean of the same rows in
    the last round, "zero" is 0. An array is the point itself.
    """

    rows: Array
    reference: Array | str = "restart"
