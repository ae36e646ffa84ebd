"""The figures of curves of a group, as plain data: page.js makes charts of them.

A figure has a look, which is its series: the names and styles of the legend. A row of panels has
its curves as pairs (curve, series).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from prsgd.console import printable
from prsgd.report.columns import Column, column
from prsgd.report.curves import Curve, Group
from prsgd.report.layout import names_and_looks, rows_of
from prsgd.report.page.looks import look
from prsgd.report.room import MOST, MOST_POINTS
from prsgd.report.specs import Spec

DIGITS = 6


def charts(group: Group, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """All figures of `specs` that show curves, and the values of the curves."""
    figures = [_figure(name, group, spec) for name, spec in specs.items() if spec.shows_curves]
    looks: list[Any] = []
    for figure in figures:
        series = figure.pop("series")
        if series not in looks:
            looks.append(series)
        figure["look"] = looks.index(series)
    names = sorted({name for figure in figures for name in (figure["x"], *figure["y"])})
    columns = {name: column(name, group.measures) for name in names}
    return {
        "figures": figures,
        "looks": looks,
        "columns": {name: _described(own) for name, own in columns.items()},
        "curves": [_values(curve, columns) for curve in group.curves],
    }


def notes(group: Group, specs: Mapping[str, Spec]) -> list[str]:
    """What the figures leave out, each in a sentence."""
    found = []
    if (longest := max(len(curve.mean) for curve in group.curves)) > MOST_POINTS:
        found.append(f"Of up to {longest:,} points of a curve {MOST_POINTS} are drawn.")
    if len(group.machines) > 1:
        found.append("There is no figure of time, as the runs are of several kinds of machine.")
    if group.lost:
        runs = ", ".join(group.lost)
        found.append(f"Curves that finished at no value are not drawn; a run of each: {runs}.")
    for name, spec in specs.items():
        if spec.shows_curves and (rows := len(rows_of(group.curves, spec.panels))) > MOST:
            found.append(f"The figure {name} shows the first {MOST} of {rows} rows of panels.")
    return found


def _figure(name: str, group: Group, spec: Spec) -> dict[str, Any]:
    names, styles = names_and_looks(group, spec)
    places = {own: place for place, own in enumerate(styles)}
    return {
        "name": name,
        "x": spec.x,
        "y": [*spec.y],
        "series": [{"name": printable(own), **look(style)} for own, style in styles.items()],
        "rows": [
            {
                "title": printable(title),
                "curves": [[group.curves.index(c), places[names[c]]] for c in of_row],
            }
            for title, of_row in rows_of(group.curves, spec.panels)[:MOST]
        ],
    }


def _described(own: Column) -> dict[str, Any]:
    return {"title": printable(own.label), "log": own.log, "zero": own.from_zero}


def _values(curve: Curve, columns: Mapping[str, Column]) -> dict[str, Any]:
    """The means over seeds from the first epoch on, and the deviations, in the units of the axes.

    A number that is none is null.
    """
    trained = curve.trained
    kept = thinned(int(trained.sum()))
    several = len(curve.runs) > 1

    def shown(frame: pd.DataFrame, name: str) -> list[float | None]:
        return numbers(columns[name].shown(frame[trained][name]).to_numpy()[kept])

    return {
        "seeds": len(curve.runs),
        "mean": {name: shown(curve.mean, name) for name in columns},
        "spread": {name: shown(curve.deviation, name) for name in columns} if several else {},
    }


def thinned(points: int) -> Any:
    """The places of the points that are drawn: all, or as many evenly from the first to the last"""
    return np.unique(np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(int))


def numbers(values: Sequence[float]) -> list[float | None]:
    """Numbers of a few digits for JSON."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values]
