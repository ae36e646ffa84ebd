"""The figures of one group of runs, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from prsgd.report import speedup
from prsgd.report.load import Group, Series
from prsgd.report.tables import common_target

STYLE: Any = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "svg.hashsalt": "prsgd",
    "svg.fonttype": "none",
}
WIDTH, HEIGHT = 7.0, 3.0  # inches
MARKERS = "osD^vP*Xh<>"
LARGEST_INTERVAL = 128  # end of the colour scale


def draw(group: Group, folder: Path) -> list[str]:
    """The figures of the group, into `folder`; returns their names."""
    axes: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series[float]], bool]] = {
        "epochs": ("epochs of all workers together", lambda m: m["epoch"], False),
        "rounds": ("communication rounds", lambda m: m["round"], True),
        "bytes": ("sent by one worker between all (MB)", lambda m: m["payload_bytes"] / 1e6, True),
        "time": ("training time (s)", lambda m: m["train_seconds"], False),
    }
    if any(series.config.get("speeds") for series in group.series):
        label = "virtual time (steps of a worker of speed 1)"
        axes["virtual_time"] = (label, lambda m: m["virtual_time"], False)
    with mpl.rc_context(STYLE):
        for name, (label, x, log) in axes.items():
            progress(group, folder / name, label, x, log)
        drift(group, folder / "drift")
        ends(group, folder / "ends")
        names = [*axes, "drift", "ends"]
        if lines := speedup.lines(group):
            steps_by_workers(group, lines, folder / "speedup")
            names.append("speedup")
    return names


def looks(group: Group) -> list[dict[str, Any]]:
    """A colour and a marker per series: by interval, the same in every figure, where that tells
    the series apart; by place in the legend where it does not."""
    by_interval = len({series.interval for series in group.series}) == len(group.series)
    styles = []
    for place, series in enumerate(group.series):
        colour: Any = mpl.colormaps["tab20"](
            2 * place % 20 + place // 10 % 2
        )  # the dark ones first
        if by_interval and series.interval is not None:
            share = np.log2(series.interval) / np.log2(LARGEST_INTERVAL)
            colour = mpl.colormaps["viridis"](0.9 * min(1.0, share))
        elif by_interval:
            colour = "black"
        styles.append({"color": colour, "marker": MARKERS[place % len(MARKERS)]})
    return styles


def progress(
    group: Group,
    path: Path,
    label: str,
    x: Callable[[pd.DataFrame], pd.Series[float]],
    log: bool = False,
) -> None:
    """Training loss and test accuracy of the average model against x, from the first epoch on."""
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT))
    for series, style in zip(group.series, looks(group), strict=True):
        trained = series.mean["step"] > 0  # before it, BatchNorm has seen nothing
        mean, deviation = series.mean[trained], series.deviation[trained]
        for axes, column, scale in (
            (loss, "consensus_train_loss", 1),
            (accuracy, "test_accuracy", 100),
        ):
            middle, spread = scale * mean[column], scale * deviation[column].fillna(0)
            axes.plot(x(mean), middle, label=series.label, **style)
            if len(series.runs) > 1:
                low, high = middle - spread, middle + spread
                axes.fill_between(x(mean), low, high, color=style["color"], alpha=0.2, linewidth=0)
    loss.set(ylabel=r"training loss of $\bar{x}$", yscale="log")
    loss.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:.3g}"))
    loss.yaxis.set_minor_formatter(mpl.ticker.LogFormatter(minor_thresholds=(1.5, 0.7)))
    accuracy.set(ylabel=r"test accuracy of $\bar{x}$ (%)")
    for axes in (loss, accuracy):
        axes.set(xlabel=label)
        if log:
            _logarithmic(axes)
        else:
            axes.set_xlim(left=0)
    finish(figure, loss, group, path)


def drift(group: Group, path: Path) -> None:
    """Squared distance of the workers from their mean, just before each averaging.

    Dashed: the paper's bound on it, 4 γ² I² G², with the measured G², where it applies.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    bounded = False
    for series, style in zip(group.series, looks(group), strict=True):
        frames = [run.rounds_of_all.reset_index() for run in series.runs]
        mean = pd.concat(frames).groupby("index")[["step", "drift"]].mean()
        if not (mean["drift"] > 0).any():
            continue
        marked = 0.1 if len(mean) > 20 else 1
        apart = mean["drift"].where(mean["drift"] > 0)
        axes.plot(mean.index + 1, apart, label=series.label, **style, markevery=marked)
        if series.obeys_the_drift_lemma:
            row = np.searchsorted(series.mean["step"], mean["step"])
            rates, g2 = series.mean["lr"].to_numpy(), series.mean["g2"].to_numpy()[row]
            lr = np.maximum(rates[row - 1], rates[row])  # between these rows it was no larger
            bound = 4 * (lr * series.interval) ** 2 * g2
            axes.plot(mean.index + 1, bound, color=style["color"], linestyle="--", linewidth=1)
            bounded = True
    if bounded:
        axes.plot([], [], "k--", linewidth=1, label="bound 4γ²I²G²")
    drift_before = r"mean of $\Vert x_i - \bar{x}\,\Vert^2$ before averaging"
    axes.set(xlabel="communication round", ylabel=drift_before, yscale="log")
    _logarithmic(axes)
    finish(figure, axes, group, path)


def ends(group: Group, path: Path) -> None:
    """Where each curve ended, the lowest loss on top: every seed, their mean ± deviation."""
    column = "consensus_train_loss"
    ranked = sorted(
        zip(group.series, looks(group), strict=True), key=lambda s: -s[0].mean[column].iloc[-1]
    )
    height = 1.1 + 0.21 * len(ranked)
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(WIDTH, height), sharey=True)
    for axes, name, scale, label in (
        (loss, column, 1, "training loss"),
        (accuracy, "test_accuracy", 100, "test accuracy (%)"),
    ):
        for y, (series, style) in enumerate(ranked):
            seeds = [scale * run.metrics[name].iloc[-1] for run in series.runs]
            middle = scale * series.mean[name].iloc[-1]
            spread = scale * series.deviation[name].fillna(0).iloc[-1]
            axes.plot(seeds, [y] * len(seeds), "|", color="#888888", markersize=6)
            axes.errorbar(middle, y, xerr=spread, capsize=2, markersize=5, **style)
        axes.set(xlabel=label)
    rounds = [f"{series.mean['round'].iloc[-1]:,.0f}" for series, _ in ranked]
    names = [f"{s.label}  ({r} rounds)" for (s, _), r in zip(ranked, rounds, strict=True)]
    loss.set_yticks(range(len(ranked)), names)
    loss.set_ylim(-0.6, len(ranked) - 0.4)
    caption(figure, f"Where each ended: {group.caption}")
    figure.tight_layout()
    save(figure, path)


def steps_by_workers(group: Group, lines: dict[str, list[Series]], path: Path) -> None:
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
    axes.set(xlabel="workers N", ylabel=f"steps to a training loss of {target:.3g}", yscale="log")
    _ticks(axes.yaxis, axes.get_ylim())
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    finish(figure, axes, group, path)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    _ticks(axes.xaxis, axes.get_xlim())


def _ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Of a logarithmic axis: 1, 2, 5 where it is short."""
    low, high = limits
    steps = (1, 2, 5) if high < 100 * low else (1,)
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))


def finish(figure: Figure, legend_of: Axes, group: Group, path: Path) -> None:
    """Caption above, legend below; write both formats."""
    caption(figure, group.caption)
    handles, labels = legend_of.get_legend_handles_labels()
    longest = 0.5 + 0.065 * max(map(len, labels), default=0)  # inches
    columns = max(1, min(len(labels), int(WIDTH / longest)))
    rows = -(-len(labels) // columns)
    figure.legend(handles, labels, loc="lower center", ncols=columns)
    figure.set_size_inches(WIDTH, HEIGHT + 0.2 * rows)
    figure.tight_layout(rect=(0, 0.2 * rows / (HEIGHT + 0.2 * rows), 1, 1))
    save(figure, path)


def caption(figure: Figure, text: str) -> None:
    """Above the panels, in lines that fit."""
    figure.suptitle(fill(text, 92), fontsize=8.5)


def save(figure: Figure, path: Path) -> None:
    """Write both formats, the same bytes every time."""
    figure.savefig(path.with_suffix(".png"), dpi=200)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
