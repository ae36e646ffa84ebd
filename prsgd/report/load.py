"""Run folders as data: which runs there are, and which may stand in one panel."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from prsgd.errors import Refused
from prsgd.records import METRICS, ROUNDS, RunFolder

# what may differ between the seeds of one curve
INCIDENTAL = (
    *("seed", "out", "device", "processes", "threads", "restarts", "timeout"),
    *("checkpoint_seconds", "profile", "plugins"),
    *("data.root", "data.label"),
)
NEEDED = (
    *("workers", "batch_size", "lr", "momentum", "seed"),
    *("algorithm._target_", "model._target_", "data._target_", "schedule._target_"),
)
NAMES = {
    "PRSGD": "PR-SGD",
    "PRSGDEpochs": "PR-SGD, falling γ",
    "HeterogeneousPRSGD": "PR-SGD, unequal steps",
    "MiniBatchSGD": "mini-batch SGD",
    "OneShot": "one-shot averaging",
    "PostLocalSGD": "post-local SGD",
    "Hierarchical": "hierarchical",
    "VRLSGD": "VRL-SGD",
    "Scaffold": "SCAFFOLD",
}
TOLD = ("algorithm._target_", "algorithm.interval")  # what every label says
SYMBOLS = {"workers": "N", "batch_size": "b", "lr": "γ", "algorithm.interval": "I", "momentum": "β"}


@dataclass
class Loaded:
    """One finished run. `config` is flat: {"workers": 8, "algorithm.interval": 8, ...}."""

    path: Path
    config: dict[str, Any]
    data: str
    fingerprint: str
    machine: str
    metrics: pd.DataFrame
    rounds: pd.DataFrame

    @property
    def rounds_of_all(self) -> pd.DataFrame:
        """Without those within groups of workers."""
        everyone = self.rounds["group"] == self.config["workers"]
        rounds: pd.DataFrame = self.rounds[everyone].reset_index(drop=True)
        return rounds

    @property
    def model(self) -> str:
        own = {k: v for k, v in self.config.items() if k.startswith("model.")}
        return json.dumps(own, sort_keys=True)

    @property
    def essence(self) -> dict[str, Any]:
        """What makes it a curve of its own."""
        read = {k: v for k, v in self.config.items() if k not in INCIDENTAL}
        for name in (
            "interval",
            "local_steps",
            "momentum_at_sync",
        ):  # the algorithm has its own copy, if it cares
            read.pop(name, None)
        unread = {"sgd": ("betas", "eps"), "adamw": ()}[read.setdefault("optimiser", "sgd")]
        if read["optimiser"] == "sgd" and not self.config["momentum"]:
            unread = (*unread, "algorithm.momentum_at_sync")
        return {k: v for k, v in read.items() if k not in unread}


@dataclass
class Series:
    """Runs that differ in their seeds only: one curve."""

    runs: list[Loaded]
    label: str = ""

    @property
    def config(self) -> dict[str, Any]:
        return self.runs[0].config

    @property
    def algorithm(self) -> str:
        target: str = self.config["algorithm._target_"]
        if not target.startswith("prsgd."):
            return target
        name = target.rpartition(".")[2]
        return NAMES.get(name, name)

    @property
    def interval(self) -> int | None:
        return self.config.get("algorithm.interval")

    @property
    def obeys_the_drift_lemma(self) -> bool:
        """Whether all take at most I plain steps of SGD from a common point."""
        essence = self.runs[0].essence
        plain = essence["optimiser"] == "sgd" and not self.config["momentum"]
        return plain and self.algorithm in (NAMES["PRSGD"], NAMES["HeterogeneousPRSGD"])

    @cached_property
    def mean(self) -> pd.DataFrame:
        """The metrics over seeds, row by row."""
        frame: pd.DataFrame = self._by_row.mean()
        return frame

    @cached_property
    def deviation(self) -> pd.DataFrame:
        """The sample standard deviation over seeds; NaN for one seed."""
        frame: pd.DataFrame = self._by_row.std()
        return frame

    @property
    def _by_row(self) -> Any:
        return pd.concat([run.metrics for run in self.runs]).groupby(level=0)


@dataclass
class Group:
    """Series on the same data with the same model: what one figure may show."""

    series: list[Series]
    common: dict[str, Any] = field(default_factory=dict)  # of all, or of most
    exceptions: list[str] = field(default_factory=list)  # keys that only most have in common

    @property
    def data(self) -> str:
        return self.series[0].runs[0].data

    @property
    def machines(self) -> list[str]:
        """The kinds of machine that the runs were on: within one, times compare."""
        return sorted({run.machine for series in self.series for run in series.runs})

    @property
    def model(self) -> str:
        config = self.series[0].config
        name: str = config["model._target_"].rpartition(".")[2]
        return f"{name}-{config.get('model.depth', config.get('model.width', ''))}".strip("-")

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"{self.data} {self.model}".lower()).strip("-")

    @property
    def caption(self) -> str:
        """What all curves share."""
        shared = [
            f"{symbol} = {self.common[key]:g}"
            for key, symbol in SYMBOLS.items()
            if key in self.common and not (key == "momentum" and not self.common[key])
        ]
        if self.exceptions:
            shared[-1] += " unless named"
        seeds = {len(series.runs) for series in self.series}
        if seeds != {1}:
            low, high = min(seeds), max(seeds)
            count = f"{low} to {high}" if low < high else f"{low}"
            shared.append(f"mean ± standard deviation of {count} seeds")
        return ", ".join([f"{self.model} on {self.data}", *shared])


def load(results: Path) -> tuple[list[Loaded], list[tuple[Path, str]]]:
    """All finished runs under a folder, and those left out with the reason."""
    runs, left_out = [], []
    for path in sorted(file.parent for file in results.rglob("config.yaml")):
        try:
            runs.append(load_run(path))
        except Refused as refusal:
            left_out.append((path, str(refusal)))
    return runs, left_out


def load_run(path: Path) -> Loaded:
    """One run folder; `Refused` where it is unfinished or damaged."""
    folder = RunFolder(path)
    config = folder.config()
    status, why = folder.status()
    if status != "done":
        raise Refused(f"{status}: {why}" if why else status)
    lacking = [key for key in NEEDED if key not in flat(config)]
    if lacking:
        raise Refused(f"config.yaml is damaged: it lacks {lacking[0]}")
    try:
        environment = json.loads((path / "environment.json").read_text())
        tables = [pd.read_csv(path / name) for name in ("metrics.csv", "rounds.csv")]
        data, fingerprint = environment["data"], environment["data_fingerprint"]
        machine = "{cores} cores of {processor} ({device})".format(**environment)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"its records are damaged: {error}") from error
    for table, columns in zip(tables, (METRICS, ROUNDS), strict=True):
        if list(table) != list(columns):
            raise Refused("a table has other columns: another version of prsgd wrote it")
        figures = table.drop(columns="local_steps", errors="ignore")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in figures.dtypes):
            raise Refused("its records are damaged: a table holds more than numbers")
    if len(tables[0]) < 2:
        raise Refused("its records are damaged: metrics.csv has no row after the start")
    return Loaded(path, flat(config), data, fingerprint, machine, tables[0], tables[1])


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """{"data": {"size": 32}} as {"data.size": 32}."""
    result = {}
    for name, value in config.items():
        inner = value if isinstance(value, dict) else None
        result.update({name: value} if inner is None else {f"{name}.{k}": inner[k] for k in inner})
    return result


def groups(runs: Iterable[Loaded]) -> list[Group]:
    """Comparable runs together, each curve with a label that tells it from the others."""
    panels: dict[Hashable, dict[str, list[Loaded]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        key = json.dumps(run.essence, sort_keys=True)
        panels[run.fingerprint, run.data, run.model][key].append(run)
    result = []
    for curves in panels.values():
        by_essence = (Series(curves[essence]) for essence in sorted(curves))
        group = Group(sorted(by_essence, key=_order))
        _label(group)
        result.append(group)
    return result


def _order(series: Series) -> tuple[Any, ...]:
    config = series.config
    rank = {"mini-batch SGD": 0, "PR-SGD": 1}.get(series.algorithm, 2)
    return rank, series.algorithm, series.interval or 0, config["workers"], config["lr"]


def _label(group: Group) -> None:
    """What tells a curve from the others; a value that most curves share stands in the caption."""
    essences = [series.runs[0].essence for series in group.series]
    for key in dict.fromkeys(key for essence in essences for key in essence):
        found = Counter(json.dumps(e[key]) for e in essences if key in e)
        [(usual, count)] = found.most_common(1)
        usual_enough = key not in TOLD and count > max(2, len(essences) / 2)
        if found.total() == len(essences) and (len(found) == 1 or usual_enough):
            group.common[key] = json.loads(usual)
            if len(found) > 1:
                group.exceptions.append(key)
    for series in group.series:
        interval = [] if series.interval is None else [f"I = {series.interval}"]
        series.label = ", ".join([series.algorithm, *interval, *differences(group, series, TOLD)])


def differences(group: Group, series: Series, told: Collection[str]) -> list[str]:
    """What else than the keys in `told` tells a curve from others of its method, as "β = 0.9"."""
    own = series.runs[0].essence
    essences = [other.runs[0].essence for other in group.series]
    found = []
    for key, value in own.items():
        kin = [
            e
            for e in essences
            if key in e and (not key.startswith("algorithm.") or _same_method(e, own))
        ]
        differs = any(e[key] != value for e in kin)
        if differs and key not in told and group.common.get(key, ...) != value:
            name = SYMBOLS.get(key, key.rpartition(".")[2])
            found.append(f"{name} = {_short(value)}")
    return found


def _same_method(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["algorithm._target_"] == other["algorithm._target_"])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " ".join(map(_short, value))
    return str(value).rpartition(".")[2]
