"""The figure of all ends: where each curve ended, the best on top."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from prsgd.report.columns import column
from prsgd.report.curves import Group
from prsgd.report.specs import Spec
from prsgd.report.style import WIDTH, caption, save, styles, verbatim, width

RANKED_BY = "consensus_train_loss"


def draw_ends(group: Group, look: Spec, path: Path) -> None:
    """Draw each curve's end, the lowest loss on top: every seed, and their mean ± deviation."""
    ranked = sorted(
        zip(group.curves, styles(group.curves, look), strict=True),
        key=lambda pair: -pair[0].mean[RANKED_BY].iloc[-1],
    )
    names = [verbatim(f"{c.label}  ({c.mean['round'].iloc[-1]:,.0f} rounds)") for c, _ in ranked]
    size = max(WIDTH, 3.6 + max(map(width, names))), 1.1 + 0.21 * len(ranked)
    figure, panels = plt.subplots(1, 2, figsize=size, sharey=True)
    for axes, name in zip(panels, (RANKED_BY, group.measures.main.column), strict=True):
        axis = column(name, group.measures)
        shown = axis.shown
        for y, (curve, style) in enumerate(ranked):
            seeds = [shown(run.metrics[name].iloc[-1]) for run in curve.runs]
            middle = shown(curve.mean[name].iloc[-1])
            spread = shown(curve.deviation[name].fillna(0).iloc[-1])
            axes.plot(seeds, [y] * len(seeds), "|", color="#888888", markersize=6)
            axes.errorbar(middle, y, xerr=spread, capsize=2, markersize=5, **style)
        axes.set(xlabel=axis.label)
    panels[0].set_yticks(range(len(ranked)), names)
    panels[0].set_ylim(-0.6, len(ranked) - 0.4)
    caption(figure, f"Where each ended: {group.caption}")
    figure.tight_layout()
    save(figure, path)
