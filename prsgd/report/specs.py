"""Which figures of curves and points a group has: the usual ones, and those it declares.

An experiment's block `figures` lies as figures.yaml beside its run folders:

    curves: {colour: algorithm.interval, style: data.partition}
    speedup: {x: workers, y: steps_to_target, lines: {LABEL: {workers: [1, 2], lr: 0.1}}}

`curves` says how curves look in all figures; every other name is a further figure. Where x is a
column of metrics.csv, a figure shows curves; where x is a configuration key, as `lr` is too, it
shows where the runs ended. `lines` is a table like an experiment's `runs`: a line of it is a line
of the figure.

    cost: {x: epochs, y: test_accuracy, minus: {interval: 1}, slope: -1}

shows how far the runs ended from those with the values of `minus`, and dashed how that would be if
it went as x to the power of `slope`. What else the block may say is read in `declared`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from prsgd.config.schema import Settings
from prsgd.config.table import rows
from prsgd.errors import UserError
from prsgd.measures import OF_IMAGES
from prsgd.report.curves import Group
from prsgd.report.declared import BEST, NETWORK, QUESTION, deciding_keys, full_name, read_block
from prsgd.report.words import is_number
from prsgd.run_folder import tables_of

LOSS = "consensus_train_loss"
STEPS = "steps_to_target"  # of a worker, to the training loss that all curves of the group reach
LOOK = ("colour", "style", "panels")
ALLOWED = {
    "x": "a column of metrics.csv or a configuration key",
    "y": f"a column of metrics.csv or {STEPS}",
    **dict.fromkeys(LOOK, "a configuration key"),
    "lines": "a mapping of labels to keys and their values",
    "minus": "a mapping of configuration keys to values",
    "slope": "a number",
}
OF_POINTS = ("lines", "minus", "slope")
RESERVED = (
    "ends",
    "drift",
    "sent",
    "tried",
    "summary",
    "bandwidth",
)  # names of files that every group has
USUAL = ("curves", "epochs", "units", "rounds", "bytes", "time", "virtual_time", "intervals")
LONGEST_NAME = 80


@dataclass(frozen=True)
class Spec:
    """What a figure shows. `colour`, `style` and `panels` are configuration keys.

    Without a `colour` or `style` the keys that vary take their places.
    """

    x: str = ""
    y: tuple[str, ...] = ()  # columns; those of the group's loss and metric unless it says more
    colour: str = ""
    style: str = ""
    panels: str = ""
    lines: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)  # rows by label
    minus: Mapping[str, Any] = field(default_factory=dict)  # of the curves to subtract
    slope: float | None = None  # the power of x that a dashed line shows
    shortest: int = 1  # points of the shortest line that is drawn
    shows_curves: bool = False


def specs(group: Group) -> dict[str, Spec]:
    """The figures of curves and of points, by name; `curves` is the look of curves."""
    declared = read_declared(group.folder / "figures.yaml", group)
    look = declared.pop("curves", Spec())
    columns = {"epochs": "epoch", "rounds": "round", "bytes": "payload_bytes"}
    if group.measures.unit != OF_IMAGES.unit:
        columns["units"] = "units"
    if len(group.machines) == 1:
        columns["time"] = "train_seconds"
    if any(curve.config.get("speeds") for curve in group.curves):
        columns["virtual_time"] = "virtual_time"
    found = {
        "curves": look,
        **{name: replace(look, x=column, shows_curves=True) for name, column in columns.items()},
        "intervals": Spec("algorithm.interval", shortest=3),
        **declared,
    }
    usual = LOSS, group.measures.main.column
    return {name: replace(spec, y=spec.y or usual) for name, spec in found.items()}


def read_declared(path: Path, group: Group) -> dict[str, Spec]:
    """The figures that figures.yaml declares; none where there is no such file."""
    block = read_block(path)
    for key in (*BEST, NETWORK, QUESTION):
        block.pop(key, None)
    if not all(isinstance(spec, dict) for spec in block.values()):
        raise UserError(f"{path} is damaged: it must be a mapping of figures, each with its keys")
    known = deciding_keys(group)
    columns = columns_of(group)
    alike = Counter(name.casefold() for name in {*map(str, block), *RESERVED, *USUAL})
    for name in block:
        if alike[str(name).casefold()] > 1:
            raise UserError(f"{path}: {name}: must differ from other figures in more than case")
    try:
        return {str(name): _spec(str(name), given, known, columns) for name, given in block.items()}
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from refusal


def columns_of(group: Group) -> Set[str]:
    """The columns that a figure of a group may have on its axes: those that all its runs have."""
    runs = [run for curve in group.curves for run in curve.runs]
    columns = tables_of(group.measures)["metrics.csv"]
    return {"units", *(c for c in columns if all(c in run.metrics for run in runs))}


def _spec(name: str, given: Mapping[str, Any], known: Set[str], columns: Set[str]) -> Spec:
    allowed = LOOK if name == "curves" else tuple(ALLOWED)
    if not name.isidentifier() or name in RESERVED or len(name) > LONGEST_NAME:
        others = " or ".join(RESERVED)
        raise UserError(
            f"{name}: must be a name of at most {LONGEST_NAME} letters, digits and _, "
            f"but not {others}"
        )
    for key in given:
        if key not in allowed:
            raise UserError(f"{name}.{key}: there is no such key; allowed are {', '.join(allowed)}")
    if name != "curves" and "x" not in given:
        raise UserError(f"{name}.x is required: {ALLOWED['x']}")
    values = {key: _value(name, key, given[key], known, columns) for key in given}
    spec = Spec(**values, shows_curves=values.get("x") in columns - known)
    of_points = [key for key in OF_POINTS if key in given] + [STEPS] * (STEPS in spec.y)
    if spec.shows_curves and of_points:
        raise UserError(f"{name}.x={spec.x}: must be a configuration key with {of_points[0]}")
    if spec.minus and STEPS in spec.y:
        raise UserError(f"{name}.y={STEPS}: must be a column of metrics.csv with minus")
    return spec


def _value(name: str, key: str, given: Any, known: Set[str], columns: Set[str]) -> Any:
    """The checked value of one key of a spec."""
    if key == "lines":
        return _lines(name, given, known)
    if key == "minus":
        return _minus(name, given, known)
    if key == "slope":
        if not is_number(given):
            raise UserError(f"{name}.slope={given}: must be {ALLOWED[key]}")
        return float(given)
    among: Set[str] = {"x": known | columns, "y": columns | {STEPS}}.get(key, known)
    values = [full_name(str(v), among) for v in (given if isinstance(given, list) else [given])]
    if not values or not among >= {*values} or (key != "y" and len(values) > 1):
        raise UserError(f"{name}.{key}={given}: must be {ALLOWED[key]}")
    return tuple(values) if key == "y" else values[0]


def _lines(name: str, table: Any, known: Set[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each line, as flat keys."""
    if not isinstance(table, dict) or not all(isinstance(line, dict) for line in table.values()):
        raise UserError(f"{name}.lines={table}: must be {ALLOWED['lines']}")
    keys = {*known, *(f.name for f in fields(Settings))}
    found = {}
    for label, line in table.items():
        try:
            found[str(label)] = [_flat(row) for row in rows(line)]
        except ValueError as error:
            raise UserError(f"{name}.lines: {label}: its lists must be equally long") from error
        for key in {key for row in found[str(label)] for key in row} - keys:
            raise UserError(f"{name}.lines: {label}: {key}: there is no such configuration key")
    return found


def _minus(name: str, given: Any, known: Set[str]) -> dict[str, Any]:
    """The values of the curves to subtract, by their full keys."""
    if not isinstance(given, dict) or not given:
        raise UserError(f"{name}.minus={given}: must be {ALLOWED['minus']}")
    values = {full_name(str(key), known): value for key, value in given.items()}
    for key in values.keys() - known:
        raise UserError(f"{name}.minus: {key}: there is no such configuration key")
    return values


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """{"data": {"size": 32}} as {"data.size": 32}."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        inner = value if isinstance(value, dict) else None
        found |= {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner.items()}
    return found
