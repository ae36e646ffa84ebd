"""What all figures share: colours and markers, axes, captions, and the two formats."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from PIL import Image

from prsgd.report.load import NAMES, Group

STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 3,
    "legend.frameon": False,
    "svg.hashsalt": "prsgd",
    "svg.fonttype": "none",
}
WIDTH, HEIGHT = 5.6, 2.5  # inches; at the 3.4 of a journal's column letters are still 5 points
DPI = 200
MARKERS = "osD^vP*Xh<>"
LARGEST_INTERVAL = 128  # the colour scale ends there
BASELINES = {NAMES["MiniBatchSGD"]: "black", NAMES["OneShot"]: "tab:red"}


def looks(group: Group) -> list[dict[str, Any]]:
    """A colour and a marker per series. By interval, the same in every figure, where that tells
    the series apart; by place in the legend where it does not. A lone baseline has its own."""
    told_by = [series.interval or series.algorithm for series in group.series]
    known = all(isinstance(x, int) or x in BASELINES for x in told_by)
    by_interval = known and len(set(told_by)) == len(told_by)
    styles = []
    for place, series in enumerate(group.series):
        colour: Any
        if by_interval and series.interval is not None:
            colour = interval_colour(series.interval)
        elif series.algorithm in BASELINES and told_by.count(series.algorithm) == 1:
            colour = BASELINES[series.algorithm]
        else:
            colour = mpl.colormaps["tab20"](2 * place % 20 + place // 10 % 2)  # dark ones first
        styles.append({"color": colour, "marker": MARKERS[place % len(MARKERS)]})
    return styles


def interval_colour(interval: int) -> Any:
    """The same in every figure: the longer, the lighter."""
    share = np.log2(interval) / np.log2(LARGEST_INTERVAL)
    return mpl.colormaps["viridis"](0.9 * min(1.0, share))


def logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    ticks(axes.xaxis, axes.get_xlim())


def powers_of_two(axes: Axes) -> None:
    """For x that doubles, N or I."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(base=2, numticks=12))
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))


def ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Of a logarithmic axis: the shorter it is, the more."""
    low, high = limits
    steps: tuple[float, ...] = (1,)
    if high < 2.5 * low:
        steps = (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)
    elif high < 5 * low:
        steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    elif high < 12 * low:
        steps = (1, 1.5, 2, 3, 4, 6, 8)
    elif high < 100 * low:
        steps = (1, 2, 5)
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))


def finish(figure: Figure, legend_of: Axes, group: Group, path: Path) -> None:
    """Caption above, legend below; write both formats."""
    caption(figure, group.caption)
    handles, labels = legend_of.get_legend_handles_labels()
    columns = legend_columns(labels)
    rows = -(-len(labels) // columns)
    figure.legend(handles, labels, loc="lower center", ncols=columns)
    figure.set_size_inches(WIDTH, HEIGHT + 0.2 * rows)
    figure.tight_layout(rect=(0, 0.2 * rows / (HEIGHT + 0.2 * rows), 1, 1))
    save(figure, path)


def width(text: str) -> float:
    """In inches, about."""
    return 0.065 * len(text)


def legend_columns(labels: list[str]) -> int:
    """Those of a legend of the fewest rows that is no wider than the figure."""

    def fits(columns: int) -> bool:
        parts = np.array_split(labels, columns)  # as matplotlib does
        return sum(0.6 + max(map(width, part)) for part in parts) <= WIDTH

    choices = (-(-len(labels) // rows) for rows in range(1, len(labels)))
    return next(filter(fits, choices), 1)


def caption(figure: Figure, text: str) -> None:
    """Above the panels, in lines that fit."""
    text = text.replace(" = ", "\u00a0=\u00a0")  # no line ends there
    text = fill(text, int(figure.get_figwidth() * 13.5)).replace("\u00a0", " ")
    figure.suptitle(text, fontsize=STYLE["font.size"])


def save(figure: Figure, path: Path) -> None:
    """Write both formats, the same bytes every time; of 256 colours a PNG is a third as large."""
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pixels = BytesIO()
    figure.savefig(pixels, format="png", dpi=DPI)
    plt.close(figure)
    picture = Image.open(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path.with_suffix(".png"), dpi=(DPI, DPI))
