"""What all figures share: colours, line styles and markers, axes, captions, and the two formats."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import east_asian_width

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from PIL import Image

from prsgd.console import printable
from prsgd.report.curves import Curve, value_of, values_of, varied
from prsgd.report.words import is_number

if TYPE_CHECKING:
    from prsgd.report.specs import Spec

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
DASHES: Any = ("-", ":", "-.", (0, (3, 1, 1, 1, 1, 1)))  # "--" is a bound's or an ideal's
LOG_TICKS: Any = (  # an axis of less than so many times its start has these ticks in each decade
    (2.5, (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)),
    (5, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
    (12, (1, 1.5, 2, 3, 4, 6, 8)),
    (100, (1, 2, 5)),
)
LARGEST_INTERVAL = 128  # the colour scale ends there
MOST_LINES = 12  # of a caption
BASELINES = {"minibatch": "black", "one_shot": "tab:red"}  # colours, by algorithm


@contextmanager
def drawing(fonts: Sequence[str] = ()) -> Iterator[None]:
    """Draw into files in prsgd's style, whatever matplotlibrc and MPLBACKEND say.

    `fonts` have glyphs that matplotlib's own font lacks. Labels without room or glyphs are drawn as
    well as they can be, without a warning for each.
    """
    plt.switch_backend("agg")
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tight layout not applied|Glyph", UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["font.family"] = ["sans-serif", *fonts]
        yield


def verbatim(text: str, most: int = 200) -> str:
    """A text that may be the user's: no formula begins in it, and no picture is broken by it."""
    shown = printable(text)
    return (shown if len(shown) <= most else f"{shown[:most]}…").replace("$", r"\$")


def styles(curves: Sequence[Curve], spec: Spec) -> list[dict[str, Any]]:
    """The colour, the line style and the marker of each curve.

    Colour says the value of one key: that of the spec, or the interval where it alone tells the
    curves apart, or the first key that varies. The line style says another: that of the spec, or
    the next key that varies within a colour. A lone baseline has a colour of its own.
    """
    methods = [curve.config["algorithm"] for curve in curves]
    lone = {method for method in BASELINES if methods.count(method) == 1}
    rest = [curve for curve in curves if curve.config["algorithm"] not in lone]
    colour_key = spec.colour or _colour_key(rest, spec.panels)
    style_key = spec.style or _style_key(rest, colour_key, spec.panels)
    colours, dashes = _colours(rest, colour_key), _ranks(rest, style_key)
    is_grid = len(rest) == len(colours) * len(dashes)  # then markers repeat what dashes say
    found: list[dict[str, Any]] = []
    for place, curve in enumerate(curves):
        marker = MARKERS[place % len(MARKERS)]
        if curve not in rest:
            found.append({"color": BASELINES[curve.config["algorithm"]], "marker": marker})
            continue
        look = {"color": colours[value_of(curve, colour_key)], "marker": marker}
        if style_key:
            rank = dashes[value_of(curve, style_key)]
            look["linestyle"] = DASHES[rank % len(DASHES)]
            look["marker"] = MARKERS[rank % len(MARKERS)] if is_grid else marker
        found.append(look)
    return found


def _colour_key(curves: Sequence[Curve], panels: str) -> str:
    intervals = {curve.interval for curve in curves}
    if None not in intervals and len(intervals) == len(curves):
        return "algorithm.interval"
    return next((key for key in varied(curves) if key != panels), "algorithm")


def _style_key(curves: Sequence[Curve], colour_key: str, panels: str) -> str:
    """The first key in which curves of one colour differ; empty if there is none."""
    alike = [
        [curve for curve in curves if value_of(curve, colour_key) == value]
        for value in _ranks(curves, colour_key)
    ]
    differing = {key for same in alike for key in varied(same)} - {panels}
    return next((key for key in varied(curves) if key in differing), "")


def _ranks(curves: Sequence[Curve], key: str) -> dict[str, int]:
    """The values of a key, numbered; those that most curves have come first."""
    values = Counter(value_of(curve, key) for curve in curves).most_common()
    return {value: rank for rank, (value, _) in enumerate(values)}


def _colours(curves: Sequence[Curve], key: str) -> dict[str, Any]:
    """A colour for each value of a key: numbers lie along a scale, others are far apart."""
    values = values_of(curves, key)
    if not all(map(is_number, values.values())):
        tab20 = mpl.colormaps["tab20"]  # its dark colours first
        return {text: tab20(2 * rank % 20 + rank // 10 % 2) for rank, text in enumerate(values)}
    if key == "algorithm.interval":
        return {text: interval_colour(value) for text, value in values.items()}
    scale = mpl.colormaps["plasma"]
    step = 0.85 / max(1, len(values) - 1)
    return {text: scale(step * rank) for rank, text in enumerate(values)}


def interval_colour(interval: float) -> Any:
    """The colour of an interval in every figure: the longer the interval, the lighter."""
    share = np.log2(max(1, interval)) / np.log2(LARGEST_INTERVAL)
    return mpl.colormaps["viridis"](0.9 * min(1.0, share))


def log_scale(axes: Axes, which: Literal["x", "y"], base: int = 10) -> bool:
    """Make an axis logarithmic if positive data are drawn in it; returns whether they are."""
    limits = axes.dataLim
    has_positive = bool(np.isfinite(limits.minposx if which == "x" else limits.minposy))
    if has_positive:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log", base=base)
    return has_positive


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with ticks that suit its length."""
    if log_scale(axes, which):
        axis, limits = (
            (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
        )
        _set_ticks(axis, limits)


def powers_of_two(axes: Axes) -> None:
    """A logarithmic x axis for numbers that double, such as N and I."""
    if log_scale(axes, "x", base=2):
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(base=2, numticks=12))
        axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))


def _set_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Tick a logarithmic axis: the fewer decades it spans, the more ticks in each."""
    low, high = limits
    steps = next((steps for most, steps in LOG_TICKS if high < most * low), (1,))
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))


def finish(figure: Figure, legend_of: Sequence[Axes], text: str, path: Path) -> None:
    """Put the caption `text` above and one legend of all labels below; write both formats."""
    caption(figure, text)
    handles: dict[str, Any] = {}
    for axes in legend_of:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.pop(label, None)  # the last panel that has a label decides its place
            handles[label] = handle
    columns = legend_columns([*handles])
    rows = -(-len(handles) // columns)
    figure.legend([*handles.values()], map(verbatim, handles), loc="lower center", ncols=columns)
    height = figure.get_figheight() + 0.2 * rows
    figure.set_size_inches(WIDTH, height)
    figure.tight_layout(rect=(0, 0.2 * rows / height, 1, 1))
    save(figure, path)


def width(text: str) -> float:
    """The approximate width of a text in inches; Chinese and its like are twice as wide."""
    return 0.065 * (len(text) + sum(east_asian_width(character) in "WF" for character in text))


def legend_columns(labels: list[str]) -> int:
    """The columns of the legend with the fewest rows that is no wider than the figure."""

    def fits(columns: int) -> bool:
        parts = np.array_split(labels, columns)  # as matplotlib does
        return sum(0.6 + max(map(width, part)) for part in parts) <= WIDTH

    choices = (-(-len(labels) // rows) for rows in range(1, len(labels)))
    return next(filter(fits, choices), 1)


def caption(figure: Figure, text: str) -> None:
    """Write a text above the panels, in lines that fit."""
    text = text.replace(" = ", "\u00a0=\u00a0")  # no line ends there
    lines = fill(printable(text), int(figure.get_figwidth() * 13.5)).split("\n")
    shown = "\n".join(verbatim(line.replace("\u00a0", " ")) for line in lines[:MOST_LINES])
    figure.suptitle(shown, fontsize=STYLE["font.size"])


def save(figure: Figure, path: Path) -> None:
    """Write both formats, the same bytes every time; of 256 colours a PNG is a third as large."""
    figure.set_layout_engine(None)  # what is laid out need not be drawn once more before each save
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pixels = BytesIO()
    figure.savefig(pixels, format="rgba", dpi=DPI)
    size = [int(side) for side in figure.get_size_inches() * DPI]
    plt.close(figure)
    picture = Image.frombytes("RGBA", (size[0], size[1]), pixels.getvalue()).convert("RGB")
    picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(path.with_suffix(".png"), dpi=(DPI, DPI))
