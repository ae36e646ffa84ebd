"""Each curve at the best of the values that it was tried at: methods compare when tuned alike.

The criterion is a column of metrics.csv at the end, as a mean over the seeds that all candidates
of a curve have. A value at which a run diverged or none finished was tried, and is never the best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prsgd.errors import UserError
from prsgd.measures import Measures, Metric
from prsgd.report.attempts import Attempt
from prsgd.report.curves import Curve, Group, curve_order, label_curves
from prsgd.report.runs import RunRecord
from prsgd.report.words import called, is_number, text_of

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
            tried = [trial.config[key] for trial in self.trials if trial.is_over]
            best = self.best.config[key]
            if all(map(is_number, tried)) and best in (min(tried), max(tried)):
                found.append(key)
        return found


def criteria(measures: Measures) -> dict[str, Metric]:
    """The columns that may decide, and what each is."""
    losses = {TRAINING_LOSS: "training loss", "test_loss": "test loss"}
    found = {column: Metric(column, title, "", "lower") for column, title in losses.items()}
    for metric in measures.metrics:
        found[metric.column] = replace(metric, title=f"test {metric.title}")
    return found


def searched_keys(group: Group, attempts: Iterable[Attempt], keys: Sequence[str]) -> list[str]:
    """Those of `keys` of which a curve was tried at several values."""
    found = _searches(_trials(group, attempts), keys).values()
    return [
        key
        for key in keys
        if any(len({text_of(trial.config.get(key)) for trial in trials}) > 1 for trials in found)
    ]


def at_best(group: Group, attempts: Sequence[Attempt], keys: Sequence[str], by: str) -> Group:
    """The group with each curve at its best values of `keys`, by the column `by`.

    Raises `UserError` where the candidates of a curve share no seed.
    """
    criterion = criteria(group.measures)[by]
    curves, lost = [], []
    searches = _searches(_trials(group, attempts), keys)
    for _, trials in sorted(searches.items()):
        candidates = [trial for trial in trials if trial.is_candidate]
        if not candidates:
            lost.append(min(path.name for trial in trials for path in trial.paths))
            continue
        _judge(candidates, keys)
        own = tuple(key for key in keys if key in candidates[0].config)
        search = Search(own, by, _in_order(trials, own), criterion.better == "higher")
        curves.append(Curve(search.best.runs, search=search))
    if not curves:
        raise UserError(
            f"{group.folder}: at no value of {', '.join(keys)} did all seeds of a curve finish; "
            "there is no best one"
        )
    names = " and ".join(map(called, keys))
    note = f"each at its best {names} by {criterion.title}"
    tuned = replace(group, curves=sorted(curves, key=curve_order), note=note, lost=lost)
    label_curves(tuned)
    return tuned


def _trials(group: Group, attempts: Iterable[Attempt]) -> list[Trial]:
    """All that was tried on the group's data with its model."""
    trials: dict[str, Trial] = {}
    for curve in group.curves:
        trials[text_of(curve.config)] = Trial(curve.config, curve.runs)
    first = group.curves[0].runs[0]
    for attempt in attempts:
        config = {key: value for key, value in attempt.config.items() if key != "seed"}
        is_alike = all(config.get(key) == first.config.get(key) for key in _of_group(config))
        is_here = attempt.path.parent == group.folder and attempt.fingerprint == first.fingerprint
        if is_here and is_alike:
            trials.setdefault(text_of(config), Trial(config)).attempts.append(attempt)
    return [*trials.values()]


def _of_group(config: Mapping[str, Any]) -> list[str]:
    return [key for key in config if key.partition(".")[0] in ("model", "task")]


def _searches(trials: Iterable[Trial], keys: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials that differ in nothing but `keys`, by what they have in common."""
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        common = {key: value for key, value in trial.config.items() if key not in keys}
        found[text_of(common)].append(trial)
    return found


def _judge(candidates: Sequence[Trial], keys: Sequence[str]) -> None:
    """Give each candidate its runs of the seeds that all of them have."""
    shared = set.intersection(*({run.config["seed"] for run in trial.runs} for trial in candidates))
    if not shared:
        one = candidates[0].runs[0].path.name
        raise UserError(
            f"{one} and its runs at other values of {', '.join(keys)} share no seed; "
            "train one seed at all of them"
        )
    for trial in candidates:
        trial.judged = Curve([run for run in trial.runs if run.config["seed"] in shared])


def _in_order(trials: Sequence[Trial], keys: Sequence[str]) -> list[Trial]:
    """The trials by their values: numbers by size, others as texts."""

    def place(value: Any) -> tuple[float, str]:
        return (value, "") if is_number(value) else (0.0, text_of(value))

    return sorted(trials, key=lambda trial: [place(trial.config.get(key)) for key in keys])
