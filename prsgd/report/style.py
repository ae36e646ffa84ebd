"""What all figures share: letters, colours, line styles and markers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from prsgd.console import printable
from prsgd.report.curves import Curve, value_of, values_of, varied
from prsgd.report.words import is_number

if TYPE_CHECKING:
    from prsgd.report.specs import Spec

STYLE: Any = {
    "font.size": 8,  # points, as printed: figures have the width that they have on paper
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "pdf.fonttype": 42,  # letters that can be searched and edited
    "svg.hashsalt": "prsgd",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" is a dollar
}
MARKERS = "osD^vP*Xh<>"
DASHES: Any = ("-", ":", "-.", (0, (3, 1, 1, 1, 1, 1)))  # "--" is a bound's or an ideal's
LARGEST_INTERVAL = 128  # the colour scale ends there
BASELINES = {"minibatch": "black", "one_shot": "tab:red"}  # colours, by algorithm
BEHIND: Any = {"color": "#c8c8c8", "linewidth": 0.8, "marker": "", "zorder": 1}  # the other curves


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


def shortened(text: str, most: int = 200) -> str:
    """A text that may be the user's, so that it can be printed and breaks no picture."""
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def styles(curves: Sequence[Curve], spec: Spec) -> list[dict[str, Any]]:
    """The colour, the line style and the marker of each curve.

    Colour says the value of one key: that of the spec, or the interval where it alone tells the
    curves apart, or the first key that varies. The line style says another: that of the spec, or
    the next key that varies within a colour. A lone baseline has a colour of its own.
    """
    rest = without_baselines(curves)
    colour_key, style_key = look_keys(rest, spec)
    colours, dashes = colours_of(rest, colour_key), _ranks(rest, style_key)
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


def without_baselines(curves: Sequence[Curve]) -> list[Curve]:
    """The curves without a baseline that is the only one of its kind."""
    methods = [curve.config["algorithm"] for curve in curves]
    lone = {method for method in BASELINES if methods.count(method) == 1}
    return [curve for curve in curves if curve.config["algorithm"] not in lone]


def look_keys(curves: Sequence[Curve], spec: Spec) -> tuple[str, str]:
    """The keys whose values colours and line styles say; the second may be empty."""
    colour = spec.colour or _colour_key(curves, spec.panels)
    return colour, spec.style or _style_key(curves, colour, spec.panels)


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


def colours_of(curves: Sequence[Curve], key: str) -> dict[str, Any]:
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
