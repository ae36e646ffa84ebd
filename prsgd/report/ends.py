"""The figure of all ends: where each curve ended, the best on top."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from prsgd.report.columns import column
from prsgd.report.curves import Curve, Group
from prsgd.report.lines import in_lines
from prsgd.report.sheet import Sheet, finish
from prsgd.report.specs import Spec
from prsgd.report.style import shortened, styles

RANKED_BY = "consensus_train_loss"
NAMES = 0.42  # of the width, at most, is for names
LINE, FURTHER_LINE = 0.2, 0.13  # inches


def draw_ends(group: Group, look: Spec, sheet: Sheet) -> None:
    """Draw each curve's end, the lowest loss on top: every seed, and their mean ± deviation."""
    ranked = sorted(
        zip(group.curves, styles(group.curves, look), strict=True),
        key=lambda pair: -pair[0].mean[RANKED_BY].iloc[-1],
    )
    names = [f"{curve.label} ({curve.mean['round'].iloc[-1]:,.0f} rounds)" for curve, _ in ranked]
    labels = ["\n".join(in_lines(shortened(name), NAMES * sheet.inches)) for name in names]
    most_lines = 1 + max(label.count("\n") for label in labels)
    height = 0.5 + (LINE + FURTHER_LINE * (most_lines - 1)) * len(ranked)
    figure, panels = plt.subplots(1, 2, figsize=(sheet.inches, height), sharey=True)
    figure.subplots_adjust(left=NAMES)
    columns = RANKED_BY, group.measures.main.column
    for axes, name in zip(panels, columns, strict=True):
        axis = column(name, group.measures)
        shown = axis.shown
        for y, (curve, style) in enumerate(ranked):
            seeds = [shown(run.metrics[name].iloc[-1]) for run in curve.runs]
            middle = shown(curve.mean[name].iloc[-1])
            spread = shown(curve.deviation[name].fillna(0).iloc[-1])
            axes.plot(seeds, [y] * len(seeds), "|", color="#888888", markersize=6)
            axes.errorbar(middle, y, xerr=spread, capsize=2, markersize=5, **style)
        axes.set(xlabel=axis.label)
        if sheet.is_narrow:
            axes.set_xlabel("\n".join(in_lines(axis.label, 0.9)))
            axes.xaxis.set_major_locator(MaxNLocator(3))
    panels[0].set_yticks(range(len(ranked)), labels)
    panels[0].set_ylim(-0.6, len(ranked) - 0.4)
    data = pd.concat([end(curve, columns) for curve, _ in reversed(ranked)])
    finish(figure, {}, f"Where each ended: {group.caption}", data, sheet)


def end(curve: Curve, columns: Sequence[str]) -> pd.DataFrame:
    """One row: what a curve sent and ended with, as means over its seeds, with deviations."""
    last, spread = curve.mean.iloc[-1], curve.deviation.iloc[-1]
    found = {"curve": curve.label, "seeds": len(curve.runs), "round": last["round"]}
    found["payload_bytes"] = last["payload_bytes"]
    for name in columns:
        found[name] = last[name]
        found[f"{name}_deviation"] = spread[name]
    return pd.DataFrame([found])
