"""The figure of drift: how far apart the workers are just before they average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.curves import Curve, Group
from prsgd.report.panels import draw_panels, names_and_looks
from prsgd.report.specs import Spec
from prsgd.report.style import log_scale, logarithmic


def drifts(curve: Curve) -> bool:
    """Whether the curve's workers are ever apart before an averaging of all."""
    return any(bool((run.rounds_of_all["drift"] > 0).any()) for run in curve.runs)


def draw_drift(group: Group, look: Spec, path: Path) -> None:
    """Draw the mean squared distance of the workers from their mean before each averaging.

    Dashed lines are the paper's bound on it, 4 γ² I² G², with the measured G², where it applies.
    """
    names, looks = names_and_looks(group, look)

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        for curve in curves:
            frames = [run.rounds_of_all.reset_index() for run in curve.runs]
            mean = pd.concat(frames).groupby("index")[["step", y]].mean()
            style = looks[names[curve]]
            marked = 0.1 if len(mean) > 20 else 1
            positive = mean[y].where(mean[y] > 0)
            axes.plot(mean.index + 1, positive, label=names[curve], **style, markevery=marked)
            if _is_bounded(curve):
                bound = _bound(curve, mean["step"])
                axes.plot(mean.index + 1, bound, color=style["color"], linestyle="--", linewidth=1)
        if any(map(_is_bounded, curves)):
            axes.plot([], [], "k--", linewidth=1, label="bound 4γ²I²G²")
        axes.set(ylabel=r"drift: mean of $\Vert x_i - \bar{x}\,\Vert^2$")
        log_scale(axes, "y")
        logarithmic(axes, "x")

    apart = [curve for curve in group.curves if drifts(curve)]
    spec = replace(look, y=("drift",))
    draw_panels(spec, apart, fill_panel, "communication round", group.caption, path)


def _is_bounded(curve: Curve) -> bool:
    return curve.interval is not None and curve.obeys_the_drift_lemma


def _bound(curve: Curve, steps: pd.Series[float]) -> Any:
    """The lemma's bound on the drift at these steps."""
    row = np.searchsorted(curve.mean["step"], steps)
    rates, g2 = curve.mean["lr"].to_numpy(), curve.mean["g2"].to_numpy()[row]
    lr = np.maximum(rates[row - 1], rates[row])  # between these rows it was no larger
    return 4 * (lr * curve.interval) ** 2 * g2
