"""The figure of what was tried: where each curve ended at each value of the chosen keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from prsgd.report.columns import column, key_label
from prsgd.report.curves import Curve, Group
from prsgd.report.panels import draw_panels, names_and_looks
from prsgd.report.points import scale_x
from prsgd.report.specs import Spec
from prsgd.report.style import logarithmic, verbatim
from prsgd.report.trials import TRAINING_LOSS, Search, Trial
from prsgd.report.words import is_number, short, text_of

STAR: Any = {"marker": "*", "markersize": 9, "markeredgecolor": "black", "markeredgewidth": 0.5}
MOST_TICKS = 7  # so many values have a tick each
ABOVE, NEXT_CROSS = 1.05, 0.07  # of a panel's height


def draw_tried(group: Group, look: Spec, folder: Path) -> list[str]:
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
        _draw_key(group, having, key, look, folder / drawn[-1])
    return drawn


def _draw_key(
    group: Group, searches: Mapping[Curve, Search], key: str, look: Spec, path: Path
) -> None:
    look = replace(look, panels=look.panels if look.panels != key else "")
    names, looks = names_and_looks(group, look)
    trials = [trial for search in searches.values() for trial in search.trials]
    values = [trial.config[key] for trial in trials]
    ticks = sorted({*values}) if all(map(is_number, values)) else []
    by, main = next(iter(searches.values())).by, group.measures.main.column

    def fill_panel(axes: Axes, curves: Sequence[Curve], y: str) -> None:
        axis = column(y, group.measures)
        height = ABOVE
        for curve in curves:
            style = {"label": names[curve], **looks[names[curve]]}
            _draw_search(axes, searches[curve], key, y, axis.shown, style)
            height += _draw_crosses(axes, searches[curve], key, height, style["color"])
        axes.set(ylabel=axis.label)
        scale_x(axes, values)
        if 0 < len(ticks) <= MOST_TICKS:
            axes.set_xticks(ticks, map(short, ticks))
            axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        if axis.log:
            logarithmic(axes, "y")

    crosses = ", × diverged or unfinished" * any(not trial.judged for trial in trials)
    caption = f"What was tried: {group.caption} (★){crosses}"
    spec = replace(look, y=(TRAINING_LOSS if by == main else by, main))
    draw_panels(spec, [*searches], fill_panel, key_label(key), caption, path)


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
    star = best.index(search.best)
    axes.plot(places[star], middle[star], color=style["color"], zorder=3, **STAR)


def _draw_crosses(axes: Axes, search: Search, key: str, height: float, colour: Any) -> float:
    """Draw a cross for each value without an end; returns the height that they take."""
    ended = {_place(trial, key) for trial in search.trials if trial.judged}
    places = [_place(trial, key) for trial in search.trials if _place(trial, key) not in ended]
    if not places:
        return 0.0
    heights = [height] * len(places)
    top = axes.get_xaxis_transform()
    axes.plot(places, heights, "x", color=colour, markersize=5, transform=top, clip_on=False)
    return NEXT_CROSS


def _best_at(search: Search, key: str) -> list[Trial]:
    """The best of the trials at each value of a key."""
    found: dict[str, Trial] = {}
    for trial in search.trials:
        value = text_of(trial.config[key])
        if trial.judged and (value not in found or search.cost(trial) < search.cost(found[value])):
            found[value] = trial
    return [*found.values()]


def _place(trial: Trial, key: str) -> Any:
    """Where a value stands on the axis: a number, or else a word."""
    value = trial.config[key]
    return value if is_number(value) else verbatim(text_of(value).strip('"'))
