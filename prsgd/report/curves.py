"""Which runs are one curve, which curves stand in one figure, and what they are called."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from prsgd.algorithms.streamed import PLAIN
from prsgd.config.registry import class_named
from prsgd.measures import Measures
from prsgd.report.runs import RunRecord
from prsgd.report.slugs import slugs
from prsgd.report.words import SYMBOLS, by_size, in_full, is_number, said, short, text_of

if TYPE_CHECKING:
    from prsgd.report.trials import Search

ALWAYS_IN_LABEL = ("algorithm", "algorithm.interval")  # a label begins with these keys


@dataclass(eq=False)
class Curve:
    """Runs that differ in their seeds only."""

    runs: list[RunRecord]
    label: str = ""
    search: Search | None = None  # what these runs are the best of

    @property
    def tuned(self) -> tuple[str, ...]:
        """The keys whose values were chosen for this curve, of those that it has."""
        keys = self.search.keys if self.search else ()
        return tuple(key for key in keys if key in self.config)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The keys that decide the curve, without the seed."""
        return {key: value for key, value in self.runs[0].config.items() if key != "seed"}

    @property
    def method(self) -> str:
        """The algorithm's title; the path of a plugin's class."""
        name: str = self.config["algorithm"]
        if name == "minibatch" and self.config["optimiser"] == "adamw":
            return "mini-batch AdamW"
        return str(getattr(class_named("algorithm", name), "title", name))

    @property
    def interval(self) -> float | None:
        """The interval; that of a plugin may be a word, which is none."""
        interval: Any = self.config.get("algorithm.interval")
        return interval if is_number(interval) and interval > 0 else None

    @property
    def obeys_the_drift_lemma(self) -> bool:
        """Whether all workers take at most I plain steps of SGD from a common point."""
        plain = self.config["optimiser"] == "sgd" and not self.config["momentum"]
        uncoded = self.config["compression"] == "none"  # else drifts are from the mean that arrived
        is_whole = all(self.config.get(f"algorithm.{k}", v) == v for k, v in PLAIN.items())
        return (
            plain
            and uncoded
            and is_whole
            and self.config.get("algorithm.weights", "steps") == "steps"
            and self.config["algorithm"] in ("prsgd", "prsgd_heterogeneous")
        )

    @cached_property
    def mean(self) -> pd.DataFrame:
        """The metrics over seeds, row by row; a speed is that of all data in all seconds."""
        frame: pd.DataFrame = self._by_row.mean()
        if len(self.runs) > 1:
            seconds = [run.metrics["train_seconds"].diff() for run in self.runs]
            speed = self.runs[0].measures.speed
            speeds = [run.metrics[speed] for run in self.runs]
            drawn = [of_run * s for of_run, s in zip(speeds, seconds, strict=True)]
            of_all = _sum_by_row(drawn) / _sum_by_row(seconds)
            frame[speed] = of_all.fillna(frame[speed])
        return frame

    @cached_property
    def deviation(self) -> pd.DataFrame:
        """The sample standard deviation over seeds; NaN for one seed."""
        frame: pd.DataFrame = self._by_row.std()
        return frame

    @property
    def trained(self) -> pd.Series[bool]:
        """The rows after the first step; before it, BatchNorm has seen nothing."""
        return self.mean["step"] > 0

    @property
    def _by_row(self) -> Any:
        return pd.concat([run.metrics for run in self.runs]).groupby(level=0)


@dataclass(eq=False)
class Group:
    """The curves of one folder on the same data with the same model: one set of figures."""

    curves: list[Curve]
    slug: str = ""  # the name of the figures' folder
    common: dict[str, Any] = field(default_factory=dict)  # the values that all or most curves have
    exceptions: list[str] = field(default_factory=list)  # keys that only most have in common
    apart: list[str] = field(default_factory=list)  # what tells it from others of the same title
    note: str = ""  # which curves these are, where they are not all
    lost: list[str] = field(default_factory=list)  # a run of each curve that finished at no value

    @property
    def folder(self) -> Path:
        """The folder that the run folders lie in."""
        return self.curves[0].runs[0].path.parent

    @property
    def data(self) -> str:
        return self.curves[0].runs[0].data

    @property
    def model(self) -> str:
        return self.curves[0].runs[0].model

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def measures(self) -> Measures:
        return self.curves[0].runs[0].measures

    @property
    def machines(self) -> list[str]:
        """The kinds of machine that the runs were on. Times compare where there is one kind."""
        return sorted({run.machine for curve in self.curves for run in curve.runs})

    @property
    def caption(self) -> str:
        """What all curves share."""
        return self.captioned("standard deviation")

    def captioned(self, spread: str) -> str:
        """What all curves share, where ± means this spread over seeds."""
        shared = self.apart + [
            f"{symbol} = {short(self.common[key])}" + " unless named" * (key in self.exceptions)
            for key, symbol in SYMBOLS.items()
            if key in self.common and not (key == "momentum" and not self.common[key])
        ]
        seeds = {len(curve.runs) for curve in self.curves}
        if seeds != {1}:
            low, high = min(seeds), max(seeds)
            count = f"{low} to {high}" if low < high else f"{low}"
            shared.append(f"mean ± {spread} of {count} seeds")
        return ", ".join([self.title, *shared, *filter(None, [self.note])])

    def name(self, curve: Curve, without: Collection[str] = ()) -> str:
        """What tells a curve from the others, `without` the keys that stand elsewhere."""
        key = "algorithm.interval"
        has_interval = curve.config.get(key) is not None and key not in without
        parts = [curve.method, *([said(key, curve.config[key])] if has_interval else [])]
        return ", ".join([*parts, *self._differences(curve, (*ALWAYS_IN_LABEL, *without))])

    def _differences(self, curve: Curve, told: Collection[str]) -> list[str]:
        """The further keys in which a curve differs, as "β = 0.9".

        Those of a choice are compared with curves of the same choice only: its name says the rest.
        """
        found = {}
        for key, value in curve.config.items():
            group, _, inner = key.partition(".")
            choice = curve.config.get(group, "") if inner else ""
            values = self._values[choice, key]
            differs = len(values) > 1 and self.common.get(key, ...) != value
            if key not in told and (differs or key in curve.tuned):
                found[key] = said(key, value, values.values())
        return in_full(found)

    @cached_property
    def _values(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The values of a key in all curves, and in those of a choice of its group, by text."""
        values: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for config in (curve.config for curve in self.curves):
            for key, value in config.items():
                group, _, inner = key.partition(".")
                choices = {"", config.get(group, "")} if inner else {""}
                for choice in choices:
                    values[choice, key][text_of(value)] = value
        return values


def _sum_by_row(columns: Sequence[pd.Series[float]]) -> pd.Series[float]:
    total: pd.Series[float] = pd.concat(columns).groupby(level=0).sum()
    return total


def groups(runs: Iterable[RunRecord]) -> list[Group]:
    """Comparable runs together, each curve with a label that tells it from the others."""
    panels: dict[Path, dict[str, dict[str, list[RunRecord]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in runs:
        curve = {k: v for k, v in run.config.items() if k != "seed"}
        panels[run.path.parent][_panel(run)][text_of(curve)].append(run)
    return [group for of_folder in panels.values() for group in _groups_of_folder(of_folder)]


def _panel(run: RunRecord) -> str:
    """What the runs of a group have in common, as text: the data and the model."""
    model = {k: v for k, v in run.config.items() if k.partition(".")[0] == "model"}
    return text_of([run.fingerprint, run.data, model, *run.apart])


def _groups_of_folder(panels: Mapping[str, Mapping[str, list[RunRecord]]]) -> list[Group]:
    found = []
    for curves in panels.values():
        found.append(Group(sorted(map(Curve, curves.values()), key=curve_order)))
    names = slugs([f"{group.data} {group.model}" for group in found], [*panels])
    for group, slug in zip(found, names, strict=True):
        group.slug = slug
        group.apart = _apart(group, [other for other in found if other.title == group.title])
        label_curves(group)
    return found


def _apart(group: Group, namesakes: Sequence[Group]) -> list[str]:
    """What tells a group from those with the same title: keys of data and model, or else data."""
    if len(namesakes) == 1:
        return []
    first, *_ = configs = [other.curves[0].config for other in (group, *namesakes)]
    of_title = [key for key in first if key.partition(".")[0] in ("data", "model")]
    keys = [key for key in of_title if len({text_of(config.get(key)) for config in configs}) > 1]
    own = [key for key in keys if len({value_of(curve, key) for curve in group.curves}) == 1]
    found = {key: said(key, first[key], [config.get(key) for config in configs]) for key in own}
    return in_full(found) or [f"data {group.curves[0].runs[0].fingerprint[:8]}"]


def varied(curves: Sequence[Curve]) -> list[str]:
    """The keys in which curves differ, in the order in which labels name them.

    A key whose values were chosen for the curves is none: they are not what is compared.
    """
    keys = dict.fromkeys((*ALWAYS_IN_LABEL, *(key for curve in curves for key in curve.config)))
    compared = keys.keys() - {key for curve in curves for key in curve.tuned}
    return [
        key
        for key in keys
        if key in compared and len({value_of(curve, key) for curve in curves}) > 1
    ]


def value_of(curve: Curve, key: str) -> str:
    """The value of a key as text that can be compared, lists included."""
    return text_of(curve.config.get(key))


def values_of(curves: Iterable[Curve], key: str) -> dict[str, Any]:
    """The values of a key by their text: numbers by size, others in the order of the curves."""
    values: dict[str, Any] = {value_of(curve, key): curve.config.get(key) for curve in curves}
    if all(map(is_number, values.values())):
        return dict(sorted(values.items(), key=lambda item: item[1]))
    return values


def curve_order(curve: Curve) -> tuple[Any, ...]:
    """What curves are sorted by; a value that was chosen changes no place."""
    config = curve.config
    rank = {"minibatch": 0, "prsgd": 1}.get(config["algorithm"], 2)
    first = [config["workers"], 0 if "lr" in curve.tuned else config.get("lr", 0)]
    rest = [(key, by_size(config[key])) for key in sorted(config.keys() - curve.tuned)]
    return rank, curve.method, curve.interval or 0, first, rest


def label_curves(group: Group) -> None:
    """Label each curve. A value that most curves share stands in the caption instead."""
    group.common, group.exceptions = {}, []
    tuned = {key for curve in group.curves for key in curve.tuned}
    keys = dict.fromkeys(key for curve in group.curves for key in curve.config)
    for key in (key for key in keys if key not in tuned):
        values = [curve.config[key] for curve in group.curves if key in curve.config]
        counts = Counter(map(text_of, values))
        if _is_shared(key, counts, len(group.curves)):
            usual = counts.most_common(1)[0][0]
            group.common[key] = next(value for value in values if text_of(value) == usual)
            if len(counts) > 1:
                group.exceptions.append(key)
    for curve in group.curves:
        curve.label = group.name(curve)


def _is_shared(key: str, counts: Counter[str], curves: int) -> bool:
    """Whether all or most of the curves have the same value; `counts` are those of the values."""
    if key.startswith("algorithm.") and counts.total() < curves:
        return False
    is_usual = max(counts.values()) > max(2, curves / 2)
    return len(counts) == 1 or (is_usual and key not in ALWAYS_IN_LABEL)
