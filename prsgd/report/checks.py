"""What a record must hold to be drawn; `UserError` says what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from prsgd.config.registry import keys_of, known_class
from prsgd.config.schema import GROUPS, Settings
from prsgd.errors import UserError
from prsgd.fields import default_of
from prsgd.measures import Measures
from prsgd.run_folder import NEW_COLUMNS

NEEDED = ("workers", "batch_size", "lr", "momentum", "seed", *GROUPS)
ALWAYS_NUMBERS = (  # of metrics.csv, after its first row
    *("step", "epoch", "round", "consensus_train_loss", "payload_bytes", "train_seconds"),
)
LARGEST = 1e100  # its square can be drawn


def check_config(config: Mapping[str, Any]) -> None:
    """That what figures read of a configuration is there, and that its numbers are numbers."""
    for key in NEEDED:
        if key not in config:
            raise UserError(f"config.yaml is damaged: it lacks {key}")
    _check_numbers(Settings, config, "")
    for group in GROUPS:
        spec = config[group]
        cls = known_class(group, spec) if isinstance(spec, dict) else None
        if cls is not None:
            _check_numbers(cls, keys_of(spec), f"{group}.")
        elif not isinstance(spec, dict) or not isinstance(spec.get("_target_"), str):
            raise UserError(f"config.yaml: this version of prsgd has no {group}={spec}")


def check_curve(curve: Mapping[str, Any]) -> None:
    """That the keys that decide a curve have values that labels can name and compare."""
    for key, value in curve.items():
        if not _is_plain(value):
            raise UserError(f"config.yaml is damaged: {key}={value} is no plain value")


def check_table(
    name: str, table: pd.DataFrame, columns: Sequence[str], needed: Sequence[str]
) -> None:
    """That a table has the columns that the record declares and those needed, with numbers."""
    if list(table) != columns:
        raise UserError("a table has other columns: another version of prsgd wrote it")
    if missing := {*needed} - {*columns, *NEW_COLUMNS}:
        raise UserError(f"its records are damaged: {name} lacks {', '.join(sorted(missing))}")
    numbers = table.drop(columns="local_steps", errors="ignore")
    for column, kind in numbers.dtypes.items() if len(table) else ():
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            raise UserError(f"its records are damaged: {name} has more than numbers in {column}")
    if len(table) and (largest := numbers.abs().max().max()) > LARGEST:
        raise UserError(f"its records are damaged: {name} has a number as large as {largest}")


def check_progress(metrics: pd.DataFrame, rounds: pd.DataFrame, measures: Measures) -> None:
    """That rows follow each other in time, and that none lacks what figures show."""
    trained = metrics[1:]
    if trained.empty:
        raise UserError("its records are damaged: metrics.csv has no row after the start")
    for column in (*ALWAYS_NUMBERS, measures.main.column, measures.speed):
        if trained[column].isna().any():
            raise UserError(f"its records are damaged: metrics.csv has nan in {column}")
    last = metrics.iloc[-1]
    if not (metrics["step"].diff()[1:] > 0).all() or not (rounds["step"] <= last["step"]).all():
        raise UserError("its records are damaged: the steps of its tables are not in order")
    if not last["train_seconds"] > 0:
        raise UserError("its records are damaged: metrics.csv has no training time")


def _check_numbers(cls: type, values: Mapping[str, Any], where: str) -> None:
    for f in fields(cls):
        is_number = type(default_of(f)) in (int, float)
        if is_number and f.name in values and f.metadata.get("decides_curve", True):
            value, allowed = values[f.name], f.metadata["allowed"]
            try:
                fits = not isinstance(value, bool) and f.metadata["test"](value)
            except (TypeError, OverflowError):
                fits = False
            if not fits:
                raise UserError(
                    f"config.yaml is damaged: {where}{f.name}={value} must be {allowed}"
                )


def _is_plain(value: Any) -> bool:
    if isinstance(value, bool | str | None):
        return True
    if isinstance(value, int | float):
        return abs(value) <= LARGEST
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    return isinstance(value, list) and all(map(_is_plain, value))
