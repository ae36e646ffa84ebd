"""The figure of drift: how far apart the workers are just before they average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.curves import Curve, Group
from prsgd.report.layout import layout
from prsgd.report.panels import draw_panels
from prsgd.report.room import MOST_POINTS
from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet
from prsgd.report.specs import Spec


def drifts(curve: Curve) -> bool:
    """Whether the curve's workers are ever apart before an averaging of all."""
    return any(bool((run.rounds_of_all["drift"] > 0).any()) for run in curve.runs)


def draw_drift(group: Group, look: Spec, sheet: Sheet) -> None:
    """Draw the mean squared distance of the workers from their mean before each averaging.

    Where messages are coded, that is the mean as it arrived.
    Dashed lines are the paper's bound on it, 4 γ² I² G², with the measured G², where it applies.
    """
    apart = [curve for curve in group.curves if drifts(curve)]
    drawn = layout(group, look, apart)
    points = {curve: _points(curve) for curve in apart}
    is_coded = any(curve.config["compression"] != "none" for curve in apart)
    arrived = ", x̄ as it arrived" * is_coded

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        bounded, bounds = [], []
        for curve in curves:
            look, of_curve = drawn.look(curve), points[curve]
            marked = 0.1 if len(of_curve) > 20 else 1
            positive = of_curve[y].where(of_curve[y] > 0)
            axes.plot(of_curve["round"], positive, **look, markevery=marked)
            if "bound" in of_curve and not drawn.is_behind(curve):
                style: Any = {"color": look["color"], "linestyle": "--", "linewidth": 1}
                bounded.append(curve)
                bounds += axes.plot(of_curve["round"], of_curve["bound"], **style)
        if bounds:
            of_one = f" of {drawn.names[bounded[0]]}"
            of = of_one if len(bounds) == 1 else "s in the colours of their curves"
            bounds[0].set_label(f"bound{of}: 4γ²I²G²")
        axes.set(ylabel=f"drift: mean of ‖xᵢ − x̄‖²{arrived}")
        logarithmic(axes, "x")
        logarithmic(axes, "y")

    data = pd.concat([of_curve.assign(curve=curve.label) for curve, of_curve in points.items()])
    data.insert(0, "curve", data.pop("curve"))
    draw_panels(drawn, ["drift"], fill_panel, "communication round", group.caption, data, sheet)


def _points(curve: Curve) -> pd.DataFrame:
    """The drift of a curve by round, and the bound on it if it has one: dense where rounds begin,
    as the axis is logarithmic."""
    frames = [run.rounds_of_all.reset_index() for run in curve.runs]
    mean = pd.concat(frames).groupby("index")[["step", "drift"]].mean()
    kept = np.unique(np.geomspace(1, len(mean), MOST_POINTS).round().astype(int)) - 1
    found = mean.iloc[kept].assign(round=mean.index[kept] + 1)
    if _is_bounded(curve):
        found["bound"] = _bound(curve, found["step"])
    return found[["round", "step", "drift", *found.columns[3:]]]


def _is_bounded(curve: Curve) -> bool:
    return curve.interval is not None and curve.obeys_the_drift_lemma


def _bound(curve: Curve, steps: pd.Series[float]) -> Any:
    """The lemma's bound on the drift at these steps."""
    row = np.searchsorted(curve.mean["step"], steps)
    rates, g2 = curve.mean["lr"].to_numpy(), curve.mean["g2"].to_numpy()[row]
    lr = np.maximum(rates[row - 1], rates[row])  # between these rows it was no larger
    return 4 * (lr * curve.interval) ** 2 * g2
