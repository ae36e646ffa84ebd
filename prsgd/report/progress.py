"""Figures of curves: columns of metrics.csv against another, as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from prsgd.report.columns import column
from prsgd.report.curves import Curve, Group
from prsgd.report.panels import draw_panels, names_and_looks
from prsgd.report.specs import Spec
from prsgd.report.style import logarithmic


def draw_progress(group: Group, spec: Spec, path: Path) -> None:
    """Draw curves from the first epoch on, and the deviation over seeds as bands."""
    names, looks = names_and_looks(group, spec)
    x_axis = column(spec.x, group.measures)

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        y_axis = column(y, group.measures)
        for curve in curves:
            label = names[curve]
            trained = curve.mean["step"] > 0  # before it, BatchNorm has seen nothing
            x = x_axis.shown(curve.mean[trained][spec.x])
            middle = y_axis.shown(curve.mean[trained][y])
            spread = y_axis.shown(curve.deviation[trained][y].fillna(0))
            axes.plot(x, middle, label=label, **looks[label])
            if len(curve.runs) > 1:
                low, high = middle - spread, middle + spread
                colour = looks[label]["color"]
                axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(ylabel=y_axis.label)
        if y_axis.log:
            logarithmic(axes, "y")
        if x_axis.log:
            logarithmic(axes, "x")
        elif x_axis.from_zero and axes.dataLim.xmax > 0:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))

    draw_panels(spec, group.curves, fill_panel, x_axis.label, group.caption, path)
