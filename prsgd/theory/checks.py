"""What all checks share: the size of their runs, and what a check reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.base import Algorithm
from prsgd.cost.advice import corollary_interval
from prsgd.theory.problems import Problem
from prsgd.theory.workers import ProblemWorkers, Rate, Trace, run


@dataclass(frozen=True)
class CheckResult:
    """One row of the table of `prsgd verify`."""

    claim: str
    statement: str
    measured: str
    holds: bool
    data: list[dict[str, Any]] = field(default_factory=list)  # rows that the claim's figure shows


@dataclass(frozen=True)
class CheckContext:
    """How large the runs of a check are. `quick` ones are shorter and have fewer seeds."""

    quick: bool = False
    workers: type[ProblemWorkers] = ProblemWorkers

    @property
    def copies(self) -> int:
        """Independent seeds of a run."""
        return 12 if self.quick else 32

    def steps(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def run(
        self,
        problem: Problem,
        algorithm: Algorithm,
        start: Array,
        *,
        workers: int,
        steps: int,
        lr: Rate,
        seed: int = 0,
        weigh: bool = False,
    ) -> Trace:
        """Run `algorithm` on `problem` from x̄⁰ = `start`, (S, d)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges ends as NaN
            return run(self.workers(problem, start, workers, seed), algorithm, steps, lr, weigh)


def corollary(workers: int, steps: int, smoothness: float) -> tuple[float, int]:
    """(γ, I) of Corollary 1: √N/(L√T), and T^{1/4}/N^{3/4} rounded down, but at least 1."""
    return (workers / steps) ** 0.5 / smoothness, corollary_interval(workers, steps)


def slope(x: Array, y: Array) -> tuple[float, float]:
    """The slope of log y (n, S) on log x (n,): mean over S copies, half of its 95 % interval.

    The interval is Student's t's.
    """
    from scipy.special import stdtrit

    if not np.isfinite(y).all():
        return np.nan, np.nan
    found = np.polyfit(np.log(x), np.log(y), 1)[0]
    standard_error = found.std(ddof=1) / len(found) ** 0.5
    return float(found.mean()), float(stdtrit(len(found) - 1, 0.975) * standard_error)


def with_error(value: float, error: float) -> str:
    return f"{value:+.3f} ± {error:.3f}"
