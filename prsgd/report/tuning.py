"""Each curve at the best of the values that it was tried at: methods compare when tuned alike.

The criterion is a column of metrics.csv at the end, as a mean over the seeds that all candidates
of a curve have. A value at which a run diverged or none finished was tried, and is never the best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prsgd.errors import UserError
from prsgd.report.attempts import Attempt
from prsgd.report.curves import Curve, Group, curve_order, label_curves
from prsgd.report.trials import Search, Trial, criteria, in_order
from prsgd.report.words import called, text_of


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

    A curve that has none of the keys stays as it is.

    Raises `UserError` where the candidates of a curve share no seed, and where there is none.
    """
    criterion = criteria(group.measures)[by]
    curves, lost = [], []
    searches = _searches(_trials(group, attempts), keys)
    for _, trials in sorted(searches.items()):
        candidates = [trial for trial in trials if trial.is_candidate]
        if not candidates:
            lost.append(min(path.name for trial in trials for path in trial.paths))
            continue
        own = tuple(key for key in keys if any(key in trial.config for trial in candidates))
        if not own:
            curves.append(Curve(candidates[0].runs))
            continue
        _judge(candidates, keys)
        search = Search(own, by, in_order(trials, own), criterion.better == "higher")
        curves.append(Curve(search.best.runs, search=search))
    if not curves:
        raise UserError(
            f"{group.folder}: a seed of each curve diverged at every value of {', '.join(keys)} "
            "that finished; none is the best"
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
    """The trials that differ in nothing but `keys`, by what they have in common.

    Some keys are there only at some values of others, as momentum_at_sync where β > 0. A trial that
    lacks such a key belongs to the searches at all its values.
    """
    found: dict[str, list[Trial]] = defaultdict(list)
    common: dict[str, dict[str, Any]] = {}
    for trial in trials:
        own = {key: value for key, value in trial.config.items() if key not in keys}
        found[text_of(own)].append(trial)
        common[text_of(own)] = own
    whole = {
        text: own
        for text, own in common.items()
        if not any(own != other and _fits(own, other, keys) for other in common.values())
    }
    return {
        text: [
            replace(trial)
            for key, other in common.items()
            if _fits(other, own, keys)
            for trial in found[key]
        ]
        for text, own in whole.items()
    }


def _fits(own: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether two configurations agree in all that the first has.

    What the second has besides must not belong to a choice that is among `keys`.
    """
    if not own.items() <= other.items():
        return False
    besides = {key.partition(".")[0] for key in other.keys() - own.keys()}
    return not besides & {*keys}


def _judge(candidates: Sequence[Trial], keys: Sequence[str]) -> None:
    """Give each candidate its runs of the seeds that all of them have."""
    shared = set.intersection(*({run.config["seed"] for run in trial.runs} for trial in candidates))
    if not shared:
        one = candidates[0].runs[0].path
        raise UserError(
            f"{one} and its runs at other values of {', '.join(keys)} share no seed; "
            "train one seed at all of them"
        )
    for trial in candidates:
        trial.judged = Curve([run for run in trial.runs if run.config["seed"] in shared])
