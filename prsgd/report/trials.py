"""What a curve was tried at, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prsgd.measures import Measures, Metric
from prsgd.report.attempts import Attempt
from prsgd.report.curves import Curve
from prsgd.report.runs import RunRecord
from prsgd.report.words import by_size, is_number

TRAINING_LOSS = "consensus_train_loss"


@dataclass(eq=False)
class Trial:
    """The runs of a curve at one choice of values: the records of those that finished."""

    config: dict[str, Any]  # what decides the curve, without the seed
    runs: list[RunRecord] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    judged: Curve | None = None  # the runs of the seeds that candidates share

    @property
    def paths(self) -> list[Path]:
        """The run folders."""
        return [run.path for run in self.runs] + [attempt.path for attempt in self.attempts]

    @property
    def has_diverged(self) -> bool:
        return any(attempt.has_diverged for attempt in self.attempts)

    @property
    def is_candidate(self) -> bool:
        """Whether it may be the best: some seed finished, and none diverged."""
        return bool(self.runs) and not self.has_diverged

    @property
    def is_over(self) -> bool:
        """Whether it is known what comes of these values."""
        return bool(self.runs) or self.has_diverged


@dataclass(eq=False)
class Search:
    """All that a curve was tried at: the values of `keys`, judged by the column `by`."""

    keys: tuple[str, ...]
    by: str
    trials: list[Trial]
    is_higher_better: bool = False

    @cached_property
    def best(self) -> Trial:
        """The trial that was chosen; of equal ones the first."""
        return min((trial for trial in self.trials if trial.judged), key=self.cost)

    def cost(self, trial: Trial) -> float:
        """What the best has the least of; infinity where there is no number."""
        end = self.end(trial)
        if np.isnan(end):
            return float("inf")
        return -end if self.is_higher_better else end

    def end(self, trial: Trial) -> float:
        """What a trial is judged by, as recorded; NaN where it is no candidate."""
        return float(trial.judged.mean[self.by].iloc[-1]) if trial.judged else float("nan")

    def at_the_edge(self) -> list[str]:
        """The keys whose best number is the smallest or the largest that was tried."""
        found = []
        for key in self.keys:
            tried = [trial.config[key] for trial in self.having(key) if trial.is_over]
            best = self.best.config.get(key)
            if all(map(is_number, tried)) and best in (min(tried), max(tried)):
                found.append(key)
        return found

    def having(self, key: str) -> list[Trial]:
        """The trials that have a key, in the order of its values; others may have no such key."""
        return in_order([trial for trial in self.trials if key in trial.config], [key])


def criteria(measures: Measures) -> dict[str, Metric]:
    """The columns that may decide, and what each is."""
    losses = {TRAINING_LOSS: "training loss", "test_loss": "test loss"}
    found = {column: Metric(column, title, "", "lower") for column, title in losses.items()}
    for metric in measures.metrics:
        found[metric.column] = replace(metric, title=f"test {metric.title}")
    return found


def in_order(trials: Sequence[Trial], keys: Sequence[str]) -> list[Trial]:
    """The trials by the values of these keys."""
    return sorted(trials, key=lambda trial: [by_size(trial.config.get(key)) for key in keys])
