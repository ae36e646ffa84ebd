"""Figures of where runs ended: each, by interval, and by the number of workers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from prsgd.report import speedup
from prsgd.report.load import TOLD, Group, Series, differences
from prsgd.report.style import (
    BASELINES,
    HEIGHT,
    MARKERS,
    WIDTH,
    caption,
    finish,
    looks,
    powers_of_two,
    save,
    ticks,
    width,
)
from prsgd.report.tables import common_target

PANELS = (
    ("consensus_train_loss", 1, r"training loss of $\bar{x}$"),
    ("test_accuracy", 100, r"test accuracy of $\bar{x}$ (%)"),
)


def ends(group: Group, path: Path) -> None:
    """Where each curve ended, the lowest loss on top: every seed, their mean ± deviation."""
    column = "consensus_train_loss"
    ranked = sorted(
        zip(group.series, looks(group), strict=True), key=lambda s: -s[0].mean[column].iloc[-1]
    )
    names = [f"{s.label}  ({s.mean['round'].iloc[-1]:,.0f} rounds)" for s, _ in ranked]
    size = max(WIDTH, 3.6 + max(map(width, names))), 1.1 + 0.21 * len(ranked)
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=size, sharey=True)
    for axes, (name, scale, label) in zip((loss, accuracy), PANELS, strict=True):
        for y, (series, style) in enumerate(ranked):
            seeds = [scale * run.metrics[name].iloc[-1] for run in series.runs]
            middle = scale * series.mean[name].iloc[-1]
            spread = scale * series.deviation[name].fillna(0).iloc[-1]
            axes.plot(seeds, [y] * len(seeds), "|", color="#888888", markersize=6)
            axes.errorbar(middle, y, xerr=spread, capsize=2, markersize=5, **style)
        axes.set(xlabel=label)
    loss.set_yticks(range(len(ranked)), names)
    loss.set_ylim(-0.6, len(ranked) - 0.4)
    caption(figure, f"Where each ended: {group.caption}")
    figure.tight_layout()
    save(figure, path)


def interval_lines(group: Group) -> dict[str, list[Series]]:
    """Runs that differ in I only, where there are three or more, and methods without one."""
    found: dict[str, list[Series]] = defaultdict(list)
    for series in group.series:
        found[", ".join([series.algorithm, *differences(group, series, TOLD)])].append(series)
    lines = {k: v for k, v in found.items() if v[0].interval is None or len(v) > 2}
    return lines if any(line[0].interval is not None for line in lines.values()) else {}


def by_interval(lines: dict[str, list[Series]], group: Group, path: Path) -> None:
    """Where each curve ended, against I; level lines are methods without an interval."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT))
    for axes, (column, scale, label) in zip(panels, PANELS, strict=True):
        for place, (name, line) in enumerate(lines.items()):
            colour = BASELINES.get(line[0].algorithm, mpl.colormaps["tab10"](place % 10))
            middle = np.array([scale * series.mean[column].iloc[-1] for series in line])
            spread = np.array([scale * series.deviation[column].iloc[-1] for series in line])
            spread = np.nan_to_num(spread)
            if line[0].interval is None:
                dashes = ("--", ":", "-.")[place % 3]
                axes.axhline(middle[0], label=name, color=colour, linestyle=dashes)
                low, high = middle - spread, middle + spread
                axes.axhspan(low[0], high[0], color=colour, alpha=0.15, linewidth=0)
            else:
                intervals = [series.interval for series in line]
                marker = MARKERS[place % len(MARKERS)]
                axes.errorbar(
                    intervals, middle, spread, label=name, color=colour, marker=marker, capsize=2
                )
        powers_of_two(axes)
        axes.set(xlabel="interval I", ylabel=label)
    finish(figure, panels[0], group, path)


def steps_by_workers(lines: dict[str, list[Series]], group: Group, path: Path) -> None:
    """Steps that each worker took to the common target, and the ideal: N times fewer."""
    target = common_target(group)
    everyone = [series.config["workers"] for series in group.series]
    fewest, most = min(everyone), max(everyone)
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    starts = set()
    for place, (label, members) in enumerate(lines.items()):
        workers = [series.config["workers"] for series in members]
        steps = [speedup.steps_to(series, target) for series in members]
        starts |= {y for x, y in zip(workers, steps, strict=True) if x == fewest and y == y}
        colour, marker = mpl.colormaps["tab10"](place % 10), MARKERS[place % len(MARKERS)]
        axes.plot(workers, steps, label=label, color=colour, marker=marker)
    for place, start in enumerate(sorted(starts)):
        label = "_" if place else "ideal: 1/N"
        ideal = [start, start * fewest / most]
        axes.plot([fewest, most], ideal, label=label, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="workers N", ylabel=f"steps to a loss of {target:.3g}", yscale="log")
    ticks(axes.yaxis, axes.get_ylim())
    powers_of_two(axes)
    finish(figure, axes, group, path)
