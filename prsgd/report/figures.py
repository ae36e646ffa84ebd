"""The figures of one group of runs, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from prsgd.report import ends, speedup
from prsgd.report.load import Group
from prsgd.report.style import HEIGHT, STYLE, WIDTH, finish, logarithmic, looks, ticks

SOMETIMES = ("time", "virtual_time", "drift", "intervals", "speedup")


def draw(group: Group, folder: Path) -> list[str]:
    """The figures of the group, into `folder`, where older ones go; returns their names."""
    axes: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series[float]], bool]] = {
        "epochs": ("epochs of all workers together", lambda m: m["epoch"], False),
        "rounds": ("communication rounds", lambda m: m["round"], True),
        "bytes": ("sent by one worker between all (MB)", lambda m: m["payload_bytes"] / 1e6, True),
    }
    if len(group.machines) == 1:
        axes["time"] = ("training time (s)", lambda m: m["train_seconds"], False)
    if any(series.config.get("speeds") for series in group.series):
        label = "virtual time (steps at speed 1)"
        axes["virtual_time"] = (label, lambda m: m["virtual_time"], False)
    with mpl.rc_context(STYLE):
        for name, (label, x, log) in axes.items():
            progress(group, folder / name, label, x, log)
        names = [*axes, "ends"]
        ends.ends(group, folder / "ends")
        if any((run.rounds["drift"] > 0).any() for series in group.series for run in series.runs):
            drift(group, folder / "drift")
            names.append("drift")
        if lines := ends.interval_lines(group):
            ends.by_interval(lines, group, folder / "intervals")
            names.append("intervals")
        if lines := speedup.lines(group):
            ends.steps_by_workers(lines, group, folder / "speedup")
            names.append("speedup")
    for old in {*SOMETIMES} - {*names}:
        for path in folder.glob(f"{old}.[ps][nv]g"):
            path.unlink()
    return names


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
    ticks(loss.yaxis, loss.get_ylim())
    accuracy.set(ylabel=r"test accuracy of $\bar{x}$ (%)")
    for axes in (loss, accuracy):
        axes.set(xlabel=label)
        if log:
            logarithmic(axes)
        else:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))
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
    axes.set(xlabel="communication round", yscale="log")
    axes.set(ylabel=r"drift: mean of $\Vert x_i - \bar{x}\,\Vert^2$")
    logarithmic(axes)
    finish(figure, axes, group, path)
