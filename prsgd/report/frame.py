"""Many runs as one table, for Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from prsgd.console import say
from prsgd.errors import UserError
from prsgd.files import home_expanded
from prsgd.report.runs import load


def load_runs(results: str | Path = "runs") -> pd.DataFrame:
    """The evaluations of all finished runs under a folder, one below the other.

    A row is a row of a run's metrics.csv. Before its columns stand `run`, the folder's name, and
    each key in which the runs differ, such as `interval`; one that only some runs have is NaN in
    the others. metrics.csv's own `lr`, the rate in that step, is called `lr_now`. After them stands
    how much of the data had been drawn, such as `tokens`.
    `load_runs().groupby("run").last()` has the ends. A line names each run that is left out, and a
    UserError says that there is none.
    """
    runs, left_out = load(home_expanded("results", str(results)))
    for path, why in left_out:
        say(f"left out: {path} ({why})")
    if not runs:
        raise UserError(f"{results}: there is no finished run in it")
    keys = dict.fromkeys(key for run in runs for key in run.config)
    swept = [key for key in keys if len({str(run.config.get(key)) for run in runs}) > 1]
    frames = []
    for run in runs:
        frame = run.metrics.rename(columns={"lr": "lr_now", "units": run.measures.unit})
        values: dict[str, Any] = {"run": run.path.name}
        values |= {_short(key, swept): run.config.get(key, float("nan")) for key in swept}
        if len({other.data for other in runs}) > 1:
            values["data"] = run.data
        for place, (name, value) in enumerate(values.items()):
            frame.insert(place, name, [value] * len(frame))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _short(key: str, keys: list[str]) -> str:
    """A key without its group, where no other swept key is called so."""
    short = key.rpartition(".")[2]
    return short if sum(other.rpartition(".")[2] == short for other in keys) == 1 else key
