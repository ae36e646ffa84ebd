"""Axes: logarithmic scales with ticks that suit their length, and one format for all numbers."""

from __future__ import annotations

from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from prsgd.report.words import raised

LOG_TICKS: Any = (  # an axis of less than so many times its start has these ticks in each decade
    (2.5, (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)),
    (5, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
    (12, (1, 1.5, 2, 3, 4, 6, 8)),
    (100, (1, 2, 5)),
)
PLAIN = 1e-3, 1e6  # an axis within these limits has no powers of ten


def number(value: float, _: Any = None) -> str:
    """A number at a tick: "0.05", "1,500"."""
    return f"{value:,g}"


def power_of_ten(value: float, _: Any = None) -> str:
    """A number at a tick of an axis where zeros would have to be counted."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.5e}".split("e")
    power = f"10{raised(int(exponent))}"
    return power if float(mantissa) == 1 else f"{float(mantissa):g} × {power}"


def write_numbers_alike(figure: Figure) -> None:
    """Give every axis of numbers the same format; ticks that are words stay."""
    own = mpl.ticker.ScalarFormatter, mpl.ticker.LogFormatter
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), own):
                low, high = sorted(map(abs, axis.get_view_interval()))
                is_plain = high < PLAIN[1] and PLAIN[0] <= (
                    low if axis.get_scale() == "log" else high
                )
                style = number if is_plain else power_of_ten
                axis.set_major_formatter(mpl.ticker.FuncFormatter(style))


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


def _set_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Tick a logarithmic axis: the fewer decades it spans, the more ticks in each."""
    low, high = limits
    steps = next((steps for most, steps in LOG_TICKS if high < most * low), (1,))
    axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
