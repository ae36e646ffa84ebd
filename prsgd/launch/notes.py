"""What a user is told of runs before the first one starts, and what their folder is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from prsgd.files import write_atomically
from prsgd.launch.planning import PlannedRun
from prsgd.run_folder import RunFolder


def about_data(planned: Sequence[PlannedRun]) -> Iterator[str]:
    """What was found of the user's own data, and what of them is dropped."""
    lines = {}
    for p in planned:
        data, n = p.run.data, p.run.samples()
        lines[f"{data.name()}: {data.found()}"] = bool(data.found())
        dropped = n - p.run.drawn_per_epoch(n) if p.run.remainder == "drop" else 0
        place = f"N = {p.run.workers}, b = {p.run.batch_size}"
        drawn = p.run.workers * p.run.batch_size
        lines[
            f"a step draws {drawn:,} {p.run.task.sample}, more than the {n:,} there are ({place})"
        ] = drawn > n
        lines[
            f"remainder=drop: {dropped:,} of {n:,} {p.run.task.sample} in each epoch ({place})"
        ] = dropped > 0
    return (line for line, is_true in lines.items() if is_true)


def skipped(folder: RunFolder, profile: bool) -> str:
    """The line for a run that is not trained again; `profile` says that a profile was asked for."""
    status, why = folder.status()
    last = folder.last_metrics()
    note = ", and not profiled: choose another out" if profile else ""
    metric = folder.measures().main
    value = f"test {metric.title} {metric.shown(last[metric.column])}" if last else ""
    result = value if status == "done" and last else why
    return f"{folder.path} is {status} ({result}): skipped{note}"


def keep_figures(folders: Iterable[Path], figures: Mapping[str, Any]) -> None:
    """Write what an experiment says of its figures beside its runs, as figures.yaml."""
    if figures:
        text = yaml.safe_dump(dict(figures), sort_keys=False, allow_unicode=True)
        for out in {*folders}:
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / "figures.yaml", text)
