"""The figure of what is sent: where each curve ended against the bytes that it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.columns import column
from prsgd.report.curves import Curve, Group
from prsgd.report.ends import end
from prsgd.report.layout import Layout, names_without, rows_of
from prsgd.report.panels import draw_panels
from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet
from prsgd.report.specs import Spec
from prsgd.report.style import MARKERS, styles
from prsgd.report.words import text_of

KEY, SENT = "compression", "payload_bytes"


def is_coded(group: Group) -> bool:
    """Whether the curves differ in how messages are coded."""
    return len({text_of(curve.config.get(KEY)) for curve in group.curves}) > 1


def draw_sent(group: Group, look: Spec, sheet: Sheet) -> None:
    """Draw the ends: a line for each method, and a marker for each way to code its messages."""
    of_code = {key for curve in group.curves for key in curve.config if key.startswith(KEY)}
    tuned = {key for curve in group.curves for key in curve.tuned}
    lines: dict[str, list[Curve]] = defaultdict(list)
    for curve, name in names_without(group, of_code | tuned).items():
        lines[name].append(curve)
    looks = styles([line[0] for line in lines.values()], replace(look, style="algorithm"))
    colours = {name: own["color"] for name, own in zip(lines, looks, strict=True)}
    by_bytes = sorted(group.curves, key=lambda curve: -curve.mean[SENT].iloc[-1])
    codes = dict.fromkeys(curve.config[KEY] for curve in by_bytes)
    markers = dict(zip(codes, MARKERS * len(codes), strict=False))
    x_axis = column(SENT, group.measures)

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        axis = column(y, group.measures)
        for name, line in lines.items():
            ends = sorted(
                (x_axis.shown(c.mean[SENT].iloc[-1]), axis.shown(c.mean[y].iloc[-1]), c.config[KEY])
                for c in line
                if c in curves
            )
            axes.plot(
                *zip(*[place[:2] for place in ends], strict=True), color=colours[name], label=name
            )
            for x, height, code in ends:
                axes.plot(x, height, markers[code], color=colours[name], markersize=5)
        for code, marker in markers.items():
            axes.plot([], [], marker, color="#666666", markersize=5, label=code)
        axes.set(ylabel=axis.label)
        logarithmic(axes, "x")
        if axis.log:
            logarithmic(axes, "y")

    caption = f"Where each ended: {group.caption}"
    data = pd.concat([end(curve, look.y) for curve in group.curves])
    drawn = Layout(rows_of(group.curves, look.panels), {}, {})
    draw_panels(drawn, look.y, fill_panel, x_axis.label, caption, data, sheet)
