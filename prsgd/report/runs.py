"""Run folders as data: a record of each finished run, and why any other is left out."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from prsgd.config.naming import curve_config
from prsgd.config.registry import keys_of, known_class
from prsgd.config.schema import with_groups
from prsgd.errors import UserError
from prsgd.files import read_bytes
from prsgd.measures import OF_IMAGES, Measures
from prsgd.report.checks import check_config, check_curve, check_progress, check_table
from prsgd.report.folders import run_folders
from prsgd.run_folder import RunFolder, tables_of


@dataclass(eq=False)
class RunRecord:
    """One finished run. `config` has what decides its curve: {"lr": 0.1, "model.depth": 20, ...}.

    `model` is the model's title, `data` the label of the data. `metrics` has a column more than the
    file, `units`: how much of the data had been drawn.
    """

    path: Path
    config: dict[str, Any]
    model: str
    data: str
    fingerprint: str
    machine: str
    processes: int | None  # P, which hosted the workers; None where nobody says
    measures: Measures
    metrics: pd.DataFrame
    rounds: pd.DataFrame

    @property
    def apart(self) -> list[Any]:
        """What runs of one set and one model may not compare for: another task."""
        return [] if self.measures == OF_IMAGES else [self.config["task"], self.measures.as_dict()]

    @property
    def rounds_of_all(self) -> pd.DataFrame:
        """The rounds of all workers, without those within groups of workers."""
        everyone = self.rounds["group"] == self.config["workers"]
        rounds: pd.DataFrame = self.rounds[everyone].reset_index(drop=True)
        return rounds


def load(results: Path) -> tuple[list[RunRecord], list[tuple[Path, str]]]:
    """All finished runs under a folder, and those left out with the reason.

    Of runs in one folder with the same keys, seed and data only the first counts: the others are
    copies, and no further seeds.
    """
    runs: dict[Hashable, RunRecord] = {}
    left_out = []
    for path in run_folders(results):
        try:
            run = load_run(path)
            identity = path.parent, run.fingerprint, json.dumps(run.config, sort_keys=True)
            if identity in runs:
                raise UserError(f"it is the same run as {runs[identity].path.name}")
            runs[identity] = run
        except UserError as refusal:
            left_out.append((path, str(refusal)))
        except Exception as error:  # a record is a file, and anybody may have written it
            left_out.append((path, f"its records are damaged: {type(error).__name__}: {error}"))
    return list(runs.values()), left_out


def load_run(path: Path) -> RunRecord:
    """The record of one run folder; `UserError` where the run is unfinished or damaged."""
    folder = RunFolder(path)
    config = with_groups(folder.config())
    status, why = folder.status()
    if status != "done":
        raise UserError(f"{status}: {why}" if why else status)
    check_config(config)
    curve = curve_config(config)
    check_curve(curve)
    columns, measures = folder.tables(), folder.measures()
    try:
        environment = json.loads(read_bytes(path / "environment.json"))
        tables = {name: _read_csv(path / name) for name in ("metrics.csv", "rounds.csv")}
        data, fingerprint = str(environment["data"]), str(environment["data_fingerprint"])
        machine = "{cores} cores of {processor} ({device})".format(**environment)
        processes = environment.get("processes")
        processes = processes if type(processes) is int and processes > 0 else None
        model = _model_title(config["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"its records are damaged: {error}") from error
    for name, table in tables.items():
        check_table(name, table, columns[name], tables_of(measures)[name])
    metrics, rounds = tables.values()
    check_progress(metrics, rounds, measures)
    metrics["units"] = _units(metrics, measures)
    kind = model, data, fingerprint, machine, processes
    return RunRecord(path, curve, *kind, measures, metrics, rounds)


def _units(metrics: pd.DataFrame, measures: Measures) -> pd.Series:
    """How much of the data had been drawn at each row, in the unit of progress."""
    seconds = metrics["train_seconds"].diff().fillna(metrics["train_seconds"])
    drawn: pd.Series = (metrics[measures.speed] * seconds).cumsum().round()
    return drawn


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(BytesIO(read_bytes(path)), low_memory=False)


def _model_title(spec: Mapping[str, Any]) -> str:
    """What figures call the model; one of a plugin goes by its class and its depth or width."""
    cls = known_class("model", spec)
    if cls is not None:
        return str(cls(**keys_of(spec)).title)
    name = spec["_target_"].rpartition(".")[2]
    return f"{name}-{spec.get('depth', spec.get('width', ''))}".strip("-")
