"""The frame of a figure: a panel for each y, and a row of panels for each part of the curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from prsgd.report.curves import Curve
from prsgd.report.layout import Layout
from prsgd.report.lines import in_lines
from prsgd.report.room import MOST
from prsgd.report.sheet import Sheet, finish
from prsgd.report.style import shortened

ROW, FURTHER_ROW, IN_A_COLUMN, MARGIN, LEAST_LABEL = 2.1, 1.6, 1.5, 0.5, 0.8  # inches

FillPanel = Callable[[Axes, Sequence[Curve], str], None]
"""Draws the y of curves into axes: fill_panel(axes, curves, y)."""


def draw_panels(
    layout: Layout,
    ys: Sequence[str],
    fill_panel: FillPanel,
    xlabel: str,
    caption: str,
    data: pd.DataFrame,
    sheet: Sheet,
) -> None:
    """Draw a figure with one legend for all panels. The panels of a column share their axes.

    On a narrow sheet the panels of a single row stand one below the other.
    """
    rows = layout.rows
    if len(rows) > MOST:
        caption += f", the first {MOST} of {len(rows)} rows of panels"
        rows = rows[:MOST]
    is_stacked = sheet.is_narrow and len(rows) == 1
    shape = (len(ys), 1) if is_stacked else (len(rows), len(ys))
    height = IN_A_COLUMN * len(ys) if is_stacked else ROW + FURTHER_ROW * (len(rows) - 1)
    figure, grid = plt.subplots(
        *shape,
        squeeze=False,
        figsize=(sheet.inches, height),
        sharex="col" if shape[0] > 1 else "none",
        sharey="col" if len(rows) > 1 else "none",
    )
    panels = grid.reshape(len(rows), len(ys))
    for (title, of_row), across in zip(rows, panels, strict=True):
        for axes, y in zip(across, ys, strict=True):
            fill_panel(axes, of_row, y)
            if len(rows) > 1:  # small panels
                axes.minorticks_off()
        if title:
            across[0].set_title(shortened(title), loc="left")
    room = max(LEAST_LABEL, sheet.inches / shape[1] - MARGIN)
    for axes in grid[-1]:
        axes.set(xlabel="\n".join(in_lines(xlabel, room)))
    finish(figure, legend_entries([across[0] for across in panels], layout), caption, data, sheet)


def legend_entries(panels: Sequence[Axes], layout: Layout) -> dict[str, Any]:
    """The legend's handles by label: first those of the layout, in its order."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.pop(label, None)
            found[label] = handle
    found = {
        label: found[label] for label in dict.fromkeys([*layout.looks, *found]) if label in found
    }
    if not layout.legend:
        return found
    names = {*layout.names.values()}
    explained = {label: Line2D([], [], **look) for label, look in layout.legend.items()}
    return explained | {label: own for label, own in found.items() if label not in names}
