"""The figure of what was tried: where each curve ended at each value of the chosen keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.columns import column, key_label
from prsgd.report.curves import Curve, Group
from prsgd.report.layout import layout
from prsgd.report.panels import draw_panels
from prsgd.report.points import scale_x
from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet
from prsgd.report.specs import Spec
from prsgd.report.style import shortened
from prsgd.report.trials import TRAINING_LOSS, Search, Trial
from prsgd.report.words import is_number, text_of

STAR: Any = {"marker": "*", "markersize": 9, "markeredgecolor": "black", "markeredgewidth": 0.5}
ABOVE, NEXT_CROSS = 1.05, 0.07  # of a panel's height


def draw_tried(group: Group, look: Spec, sheet: Sheet) -> list[str]:
    """Draw the ends of all that was tried, a line for each curve; returns the figures' names.

    There is a figure for each key: `tried`, and `tried_KEY` for further ones. Of trials with the
    same value of its key the best one is shown. A star is the trial that was chosen; a cross above
    the panel is a value at which a run diverged or none finished.
    """
    searches = {curve: curve.search for curve in group.curves if curve.search}
    drawn: list[str] = []
    for key in dict.fromkeys(key for search in searches.values() for key in search.keys):
        drawn.append(f"tried_{key.rpartition('.')[2]}" if drawn else "tried")
        having = {curve: search for curve, search in searches.items() if key in search.keys}
        _draw_key(group, having, key, look, sheet / drawn[-1])
    return drawn


def _draw_key(
    group: Group, searches: Mapping[Curve, Search], key: str, look: Spec, sheet: Sheet
) -> None:
    look = replace(look, panels=look.panels if look.panels != key else "")
    drawn = layout(group, look, [*searches])
    trials = [trial for search in searches.values() for trial in search.having(key)]
    values = [trial.config[key] for trial in trials]
    by, main = next(iter(searches.values())).by, group.measures.main.column

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        axis = column(y, group.measures)
        height = ABOVE
        for curve in curves:
            style = drawn.look(curve)
            _draw_search(axes, searches[curve], key, y, axis.shown, style)
            height += _draw_crosses(axes, searches[curve], key, height, style["color"])
        axes.set(ylabel=axis.label)
        scale_x(axes, values)
        if axis.log:
            logarithmic(axes, "y")

    crosses = ", × diverged or unfinished" * any(not trial.judged for trial in trials)
    caption = f"What was tried: {group.caption} (★){crosses}"
    ys = TRAINING_LOSS if by == main else by, main
    data = pd.concat([_ends(curve, search, key, ys) for curve, search in searches.items()])
    draw_panels(drawn, ys, fill_panel, key_label(key), caption, data, sheet)


def _draw_search(
    axes: Axes, search: Search, key: str, y: str, shown: Any, style: dict[str, Any]
) -> None:
    """Draw the ends of one curve's candidates, and a star on the best."""
    best = _best_at(search, key)
    curves = [trial.judged for trial in best if trial.judged]
    middle = [shown(curve.mean[y].iloc[-1]) for curve in curves]
    spread = [shown(curve.deviation[y].fillna(0).iloc[-1]) for curve in curves]
    places = [_place(trial, key) for trial in best]
    axes.errorbar(places, middle, spread, capsize=2, **style)
    if search.best in best:
        star = best.index(search.best)
        axes.plot(places[star], middle[star], color=style["color"], zorder=3, **STAR)


def _ends(curve: Curve, search: Search, key: str, ys: Sequence[str]) -> pd.DataFrame:
    """A row for each value: what it ended with, if it did, and whether it is the best."""
    best = {text_of(trial.config[key]): trial for trial in _best_at(search, key)}
    found = []
    for text, value in {text_of(t.config[key]): t.config[key] for t in search.having(key)}.items():
        trial = best.get(text)
        ends = trial.judged.mean.iloc[-1][[*ys]].to_dict() if trial and trial.judged else {}
        found.append({"curve": curve.label, key: value, "best": trial is search.best, **ends})
    return pd.DataFrame(found)


def _draw_crosses(axes: Axes, search: Search, key: str, height: float, colour: Any) -> float:
    """Draw a cross for each value without an end; returns the height that they take."""
    trials = search.having(key)
    ended = {_place(trial, key) for trial in trials if trial.judged}
    places = [_place(trial, key) for trial in trials if _place(trial, key) not in ended]
    if not places:
        return 0.0
    heights = [height] * len(places)
    top = axes.get_xaxis_transform()
    axes.plot(places, heights, "x", color=colour, markersize=5, transform=top, clip_on=False)
    return NEXT_CROSS


def _best_at(search: Search, key: str) -> list[Trial]:
    """The best of the trials at each value of a key."""
    found: dict[str, Trial] = {}
    for trial in search.having(key):
        value = text_of(trial.config[key])
        if trial.judged and (value not in found or search.cost(trial) < search.cost(found[value])):
            found[value] = trial
    return [*found.values()]


def _place(trial: Trial, key: str) -> Any:
    """Where a value stands on the axis: a number, or else a word."""
    value = trial.config[key]
    return value if is_number(value) else shortened(text_of(value).strip('"'))
