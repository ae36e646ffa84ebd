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
from prsgd.config.schema import GROUPS
from prsgd.errors import UserError
from prsgd.files import read_bytes
from prsgd.run_folder import RunFolder

NEEDED = ("workers", "batch_size", "lr", "momentum", "seed", *GROUPS)


@dataclass(eq=False)
class RunRecord:
    """One finished run. `config` has what decides its curve: {"lr": 0.1, "model.depth": 20, ...}.

    `model` is the model's title, `data` the label of the data.
    """

    path: Path
    config: dict[str, Any]
    model: str
    data: str
    fingerprint: str
    machine: str
    metrics: pd.DataFrame
    rounds: pd.DataFrame

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
    for path in sorted(file.parent for file in results.rglob("config.yaml")):
        try:
            run = load_run(path)
            identity = path.parent, run.fingerprint, json.dumps(run.config, sort_keys=True)
            if identity in runs:
                raise UserError(f"it is the same run as {runs[identity].path.name}")
            runs[identity] = run
        except UserError as refusal:
            left_out.append((path, str(refusal)))
    return list(runs.values()), left_out


def load_run(path: Path) -> RunRecord:
    """The record of one run folder; `UserError` where the run is unfinished or damaged."""
    folder = RunFolder(path)
    config = folder.config()
    status, why = folder.status()
    if status != "done":
        raise UserError(f"{status}: {why}" if why else status)
    _refuse_damaged(config)
    columns = folder.tables()
    try:
        environment = json.loads(read_bytes(path / "environment.json"))
        tables = [
            pd.read_csv(BytesIO(read_bytes(path / name))) for name in ("metrics.csv", "rounds.csv")
        ]
        data, fingerprint = environment["data"], environment["data_fingerprint"]
        machine = "{cores} cores of {processor} ({device})".format(**environment)
        model = _model_title(config["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"its records are damaged: {error}") from error
    for table, name in zip(tables, ("metrics.csv", "rounds.csv"), strict=True):
        if list(table) != columns[name]:
            raise UserError("a table has other columns: another version of prsgd wrote it")
        figures = table.drop(columns="local_steps", errors="ignore")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in figures.dtypes):
            raise UserError("its records are damaged: a table holds more than numbers")
    if len(tables[0]) < 2:
        raise UserError("its records are damaged: metrics.csv has no row after the start")
    return RunRecord(path, curve_config(config), model, data, fingerprint, machine, *tables)


def _refuse_damaged(config: Mapping[str, Any]) -> None:
    for key in NEEDED:
        if key not in config:
            raise UserError(f"config.yaml is damaged: it lacks {key}")
    for group in GROUPS:
        spec = config[group]
        if not isinstance(spec, dict) or not (known_class(group, spec) or "_target_" in spec):
            raise UserError(f"config.yaml: this version of prsgd has no {group}={spec}")


def _model_title(spec: Mapping[str, Any]) -> str:
    """What figures call the model; one of a plugin goes by its class and its depth or width."""
    cls = known_class("model", spec)
    if cls is not None:
        return str(cls(**keys_of(spec)).title)
    name = spec["_target_"].rpartition(".")[2]
    return f"{name}-{spec.get('depth', spec.get('width', ''))}".strip("-")
