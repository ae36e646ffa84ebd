"""Figures of points: where runs ended, against a configuration key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from prsgd.report.behind import baselines, has
from prsgd.report.columns import key_label
from prsgd.report.curves import Curve, Group
from prsgd.report.declared import full_name
from prsgd.report.endpoints import Ends
from prsgd.report.layout import MOST_IN_PANEL, Layout, names_without, others_of, rows_of
from prsgd.report.panels import draw_panels
from prsgd.report.room import best, end_of
from prsgd.report.scales import logarithmic, powers_of_two
from prsgd.report.sheet import Sheet
from prsgd.report.specs import STEPS, Spec
from prsgd.report.style import BASELINES, BEHIND, MARKERS, shortened, styles
from prsgd.report.tables import steps_to
from prsgd.report.words import called, clear, is_number, raised, short

MOST_TICKS = 7  # so many values have a tick each
LETTER = 0.03  # of a panel's width
Lines = dict[str, list[Curve]]


def lines_of(group: Group, spec: Spec) -> Lines:
    """The lines of a figure of points; none where no curve has a value for x.

    A declared line has the curves of its rows. Without declared lines, curves that differ in x only
    are a line, and a curve without the key x is a level line.
    """
    lines = _declared_lines(group, spec) if spec.lines else _lines_along(group, spec)
    if spec.minus:
        behind = baselines(group, spec.minus)
        lines = {label: [c for c in line if c in behind] for label, line in lines.items()}
    long_enough = {
        label: line
        for label, line in lines.items()
        if line and (len(line) >= spec.shortest or spec.x not in line[0].config)
    }
    has_points = any(spec.x in line[0].config for line in long_enough.values())
    return long_enough if has_points else {}


def _declared_lines(group: Group, spec: Spec) -> Lines:
    having = [curve for curve in group.curves if spec.x in curve.config]
    return {
        label: [*dict.fromkeys(c for row in rows for c in having if _fits(c, row, group))]
        for label, rows in spec.lines.items()
    }


def _lines_along(group: Group, spec: Spec) -> Lines:
    lines: Lines = defaultdict(list)
    for curve, name in names_without(group, {spec.x, spec.panels}).items():
        lines[name].append(curve)
    return lines


def _fits(curve: Curve, row: Mapping[str, Any], group: Group) -> bool:
    """Whether a curve has the values of a row, keys aside that no curve of the group has."""
    known = {key for other in group.curves for key in other.config}
    wanted = {full_name(key, known): value for key, value in row.items()}
    return has(curve, {key: value for key, value in wanted.items() if key in known})


def draw_points(group: Group, spec: Spec, lines: Lines, sheet: Sheet) -> None:
    """Draw what each run ended with, from which curve it is apart or what it took to the target."""
    ends = Ends(group, spec)
    labels, note = best([*lines], lambda label: min(map(end_of, lines[label])), "lines")
    lines = {label: lines[label] for label in labels}
    looks = _looks(spec, lines)
    places = _places(group, spec.x)

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        for place, (label, of_line) in enumerate(lines.items()):
            shown = [curve for curve in of_line if curve in curves]
            if shown and spec.x in shown[0].config:
                line = {curve: places[curve] for curve in places if curve in shown}
                _draw_line(axes, line, y, ends, looks[label])
                if spec.slope is not None:
                    _draw_power(axes, line, y, ends, spec.slope, looks[label])
            elif shown:
                dashes = ("--", ":", "-.")[place % 3]
                style = {k: looks[label][k] for k in ("label", "color")} | {"linestyle": dashes}
                _draw_level(axes, ends.shown(shown[0], y), style)
        axes.set(ylabel=ends.label(y))
        if y == STEPS:
            if spec.x == "workers":
                _draw_ideal(axes, group, lines, ends.target)
            logarithmic(axes, "y")
        if spec.minus:
            axes.axhline(0, color="black", linewidth=0.5)
        scale_x(axes, [*places.values()])

    data = pd.DataFrame(
        [
            {"line": label, spec.x: places.get(curve), **_data(curve, spec.y, ends)}
            for label, line in lines.items()
            for curve in line
        ]
    )
    rows = rows_of(group.curves, spec.panels)
    looks_in_order = {look["label"]: look for look in looks.values()}
    draw_panels(
        Layout(rows, {}, looks_in_order),
        spec.y,
        fill_panel,
        key_label(spec.x),
        _caption(group, spec, note),
        data,
        sheet,
    )


def _caption(group: Group, spec: Spec, note: str) -> str:
    shared = group.captioned("standard error" if spec.minus else "standard deviation")
    power = "" if spec.slope is None else f"dashed: ∝ {called(spec.x)}{raised(spec.slope)}"
    return ", ".join(filter(None, [shared, note, power]))


def _places(group: Group, key: str) -> dict[Curve, Any]:
    """Where curves stand on an axis of the key: numbers in their order, or else words."""
    values = {curve: curve.config[key] for curve in group.curves if key in curve.config}
    if all(map(is_number, values.values())):
        return dict(sorted(values.items(), key=lambda item: item[1]))
    return {curve: shortened(clear(value, values.values())) for curve, value in values.items()}


def _looks(spec: Spec, lines: Lines) -> dict[str, dict[str, Any]]:
    """By label: colour and style say what the spec asks for, or else the place in the legend.

    Of more than eight lines the best are in colours, and the others grey.
    """
    by_end = sorted(lines, key=lambda label: min(map(end_of, lines[label])))
    front = {label: line for label, line in lines.items() if label in by_end[:MOST_IN_PANEL]}
    if spec.colour or spec.style:
        looks = styles([line[0] for line in front.values()], spec)
    else:
        looks = [_by_place(place, line) for place, line in enumerate(front.values())]
    found = {label: {"label": label, **look} for label, look in zip(front, looks, strict=True)}
    others = {"label": others_of(len(lines) - len(front)), **BEHIND}
    return found | {label: others for label in lines if label not in front}


def _by_place(place: int, line: Sequence[Curve]) -> dict[str, Any]:
    colour = BASELINES.get(line[0].config["algorithm"], mpl.colormaps["tab10"](place % 10))
    return {"color": colour, "marker": MARKERS[place % len(MARKERS)]}


def _data(curve: Curve, ys: Sequence[str], ends: Ends) -> dict[str, float]:
    """What the figure says of a curve, in the units of metrics.csv; differences with errors."""
    found = {}
    for y in ys:
        found[y], error = ends.raw(curve, y)
        if ends.minus:
            found[f"{y}_error"] = error
    return found


def _draw_line(
    axes: Axes, line: Mapping[Curve, Any], y: str, ends: Ends, style: dict[str, Any]
) -> None:
    """Draw the ends of curves at their places on the x axis."""
    x = [*line.values()]
    middle, spread = zip(*(ends.shown(curve, y) for curve in line), strict=True)
    if y == STEPS:
        axes.plot(x, middle, **style)
    else:
        axes.errorbar(x, middle, spread, capsize=2, **style)


def _draw_power(
    axes: Axes,
    line: Mapping[Curve, Any],
    y: str,
    ends: Ends,
    slope: float,
    style: Mapping[str, Any],
) -> None:
    """Draw how a line would go on from its first point if it were x to the power of the slope.

    That is its first point at a number above zero.
    """
    positive = {curve: x for curve, x in line.items() if is_number(x) and x > 0}
    if not positive:
        return
    first, begin = next(iter(positive.items()))
    x = np.geomspace(begin, max(positive.values()))
    middle, _ = ends.shown(first, y)
    dashed = {"color": style["color"], "linestyle": "--", "linewidth": 1}
    axes.plot(x, middle * (x / begin) ** slope, label="_", **dashed)


def _draw_level(axes: Axes, end: tuple[float, float], style: dict[str, Any]) -> None:
    middle, spread = end
    axes.axhline(middle, **style)
    axes.axhspan(middle - spread, middle + spread, color=style["color"], alpha=0.15, linewidth=0)


def _draw_ideal(axes: Axes, group: Group, lines: Lines, target: float) -> None:
    """N times fewer steps than with the fewest workers, from each point where a line begins."""
    everyone = [curve.config["workers"] for curve in group.curves]
    fewest, most = min(everyone), max(everyone)
    first = [c for line in lines.values() for c in line if c.config["workers"] == fewest]
    starts = {steps for curve in first if (steps := steps_to(curve, target)) == steps}
    for place, start in enumerate(sorted(starts)):
        label = "_" if place else "ideal: 1/N"
        ideal = [start, start * fewest / most]
        axes.plot([fewest, most], ideal, label=label, color="black", linestyle="--", linewidth=1)


def scale_x(axes: Axes, values: Sequence[Any]) -> None:
    """A logarithmic axis for numbers above zero. Of a few numbers, each has its tick."""
    if not values or not all(map(is_number, values)):
        return
    if min(values) > 0:
        if all(type(value) is int for value in values):
            powers_of_two(axes)
            return
        logarithmic(axes, "x")
    ticks = sorted({*values})
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks, _apart(axes, ticks))
        axes.xaxis.set_minor_locator(NullLocator())


def _apart(axes: Axes, ticks: Sequence[float]) -> list[str]:
    """The labels of ticks; none for a tick whose label would touch the one before it."""
    axes.get_xlim()  # as the limits are not known before somebody asks
    to_share = axes.get_xaxis_transform() + axes.transAxes.inverted()
    labels, end = list[str](), float("-inf")
    for tick in ticks:
        middle, half = to_share.transform((tick, 0))[0], LETTER * (len(short(tick)) + 1) / 2
        labels.append(short(tick) if middle - half >= end else "")
        end = middle + half if labels[-1] else end
    return labels
