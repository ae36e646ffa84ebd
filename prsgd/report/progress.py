"""Figures of curves: columns of metrics.csv against another, as training goes on."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.columns import column
from prsgd.report.curves import Curve, Group
from prsgd.report.layout import layout
from prsgd.report.panels import draw_panels
from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet
from prsgd.report.specs import Spec

MARKED = 10  # points of a curve have a marker each, or else so many of them


def draw_progress(group: Group, spec: Spec, sheet: Sheet) -> None:
    """Draw curves from the first epoch on, and the deviation over seeds as bands."""
    drawn = layout(group, spec)
    x_axis = column(spec.x, group.measures)

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        y_axis = column(y, group.measures)
        for curve in curves:
            look, trained = drawn.look(curve), curve.trained
            x = x_axis.shown(curve.mean[trained][spec.x])
            middle = y_axis.shown(curve.mean[trained][y])
            spread = y_axis.shown(curve.deviation[trained][y].fillna(0))
            axes.plot(x, middle, **look, markevery=1 if len(x) <= MARKED else 1 / MARKED)
            if len(curve.runs) > 1:
                low, high = middle - spread, middle + spread
                colour = look["color"]
                axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(ylabel=y_axis.label)
        if y_axis.log:
            logarithmic(axes, "y")
        if x_axis.log:
            logarithmic(axes, "x")
        elif x_axis.from_zero and axes.dataLim.xmax > 0:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))

    data = pd.concat([_points(curve, spec) for curve in group.curves])
    draw_panels(drawn, spec.y, fill_panel, x_axis.label, group.caption, data, sheet)


def _points(curve: Curve, spec: Spec) -> pd.DataFrame:
    """What is drawn of a curve: x, and the mean of each y; with several seeds its deviation too."""
    trained = curve.trained
    found = curve.mean[trained][[*dict.fromkeys([spec.x, *spec.y])]].copy()
    if len(curve.runs) > 1:
        for y in spec.y:
            found[f"{y}_deviation"] = curve.deviation[trained][y]
    found.insert(0, "curve", curve.label)
    return found
