"""The frame of a figure: a panel for each y, and a row of panels for each value of a key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from prsgd.report.curves import Curve, Group, value_of, values_of
from prsgd.report.room import MOST
from prsgd.report.specs import Spec
from prsgd.report.style import HEIGHT, WIDTH, finish, styles, verbatim
from prsgd.report.words import called, clear, said

FURTHER_ROW = 1.8  # inches

FillPanel = Callable[[Axes, Sequence[Curve], str], None]
"""Draws the y of curves into axes: fill_panel(axes, curves, y)."""


def names_and_looks(group: Group, spec: Spec) -> tuple[dict[Curve, str], dict[str, dict[str, Any]]]:
    """The name of each curve in a legend, and the look of each name.

    Curves that differ only in what tells the rows of panels apart have the same name.
    """
    names = names_without(group, {spec.panels})
    firsts: dict[str, Curve] = {}
    for curve, name in names.items():
        firsts.setdefault(name, curve)
    return names, dict(zip(firsts, styles([*firsts.values()], spec), strict=True))


def names_without(group: Group, keys: Set[str]) -> dict[Curve, str]:
    """The name of each curve without keys that stand elsewhere.

    Curves that then have one name share the values that were chosen for them: in the order of the
    curves "PR-SGD, γ = 0.1 / 0.2", or "PR-SGD, γ = 0.1" if they are the same.
    """
    alike: dict[str, list[Curve]] = defaultdict(list)
    for curve in group.curves:
        alike[group.name(curve, {*keys, *curve.tuned})].append(curve)
    found: dict[Curve, str] = {}
    for name, curves in alike.items():
        tuned = [key for key in curves[0].tuned if key not in keys]
        chosen = [_chosen(key, curves) for key in tuned]
        found |= dict.fromkeys(curves, ", ".join([name, *chosen]))
    return {curve: found[curve] for curve in group.curves}


def _chosen(key: str, curves: Sequence[Curve]) -> str:
    values = [curve.config[key] for curve in curves]
    texts = [clear(value, values) for value in values]
    return f"{called(key)} = {' / '.join(texts if len({*texts}) > 1 else texts[:1])}"


def draw_panels(
    spec: Spec,
    curves: Sequence[Curve],
    fill_panel: FillPanel,
    xlabel: str,
    caption: str,
    path: Path,
) -> None:
    """Draw a figure with one legend for all panels. The panels of a column share their axes."""
    rows = rows_of(curves, spec.panels)
    if len(rows) > MOST:
        caption += f", the first {MOST} of {len(rows)} rows of panels"
        rows = rows[:MOST]
    shared: Literal["col", "none"] = "col" if len(rows) > 1 else "none"
    size = WIDTH, HEIGHT + FURTHER_ROW * (len(rows) - 1)
    figure, grid = plt.subplots(
        len(rows), len(spec.y), squeeze=False, figsize=size, sharex=shared, sharey=shared
    )
    for (title, of_row), panels in zip(rows, grid, strict=True):
        for axes, y in zip(panels, spec.y, strict=True):
            fill_panel(axes, of_row, y)
            if len(rows) > 1:  # small panels
                axes.minorticks_off()
        if title:
            panels[0].set_title(verbatim(title), loc="left")
    for axes in grid[-1]:
        axes.set(xlabel=xlabel)
    finish(figure, [panels[0] for panels in grid], caption, path)


def rows_of(curves: Sequence[Curve], key: str) -> list[tuple[str, Sequence[Curve]]]:
    """The title and the curves of each row; curves without the key stand in all rows."""
    values = values_of([curve for curve in curves if key in curve.config], key)
    rows: list[tuple[str, Sequence[Curve]]] = []
    for text, value in values.items():
        of_row = [c for c in curves if key not in c.config or value_of(c, key) == text]
        rows.append((said(key, value, values.values()), of_row))
    return rows or [("", curves)]
