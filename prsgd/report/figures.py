"""The figures of one group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from prsgd.cost.network import Network
from prsgd.report.bandwidth import draw_network
from prsgd.report.curves import Group
from prsgd.report.drift import draw_drift, drifts
from prsgd.report.ends import draw_ends
from prsgd.report.points import draw_points, lines_of
from prsgd.report.progress import draw_progress
from prsgd.report.room import shown_of
from prsgd.report.sent import draw_sent, is_coded
from prsgd.report.sheet import DATA, Sheet
from prsgd.report.specs import Spec
from prsgd.report.style import drawing
from prsgd.report.tried import draw_tried

ENDINGS = (".png", ".svg", ".pdf", DATA)
OPTIONAL_FIGURES = (
    *("units", "time", "virtual_time", "drift", "sent", "tried*", "intervals", "speedup"),
    *("network", "bandwidth"),
)


def words_in(group: Group, specs: dict[str, Spec]) -> str:
    """What a group's figures say of it."""
    lines = [label for spec in specs.values() for label in spec.lines]
    return " ".join([group.caption, *(curve.label for curve in group.curves), *lines])


def draw(
    group: Group,
    specs: dict[str, Spec],
    sheet: Sheet,
    fonts: Sequence[str] = (),
    network: Network | None = None,
) -> list[str]:
    """Draw a group's figures into the folder of the sheet, and remove those that it once had.

    Returns their names.
    """
    shown, look = shown_of(group), specs["curves"]
    with drawing(fonts):
        names = _draw_specs(group, shown, specs, sheet)
        draw_ends(shown, replace(look, panels=""), sheet / "ends")
        names.append("ends")
        if any(map(drifts, shown.curves)):
            draw_drift(shown, look, sheet / "drift")
            names.append("drift")
        if is_coded(group):
            draw_sent(group, look, sheet / "sent")
            names.append("sent")
        if any(curve.search for curve in shown.curves):
            names += draw_tried(shown, look, sheet)
        if network:
            names += draw_network(shown, network, look, sheet)
    for old, ending in product(OPTIONAL_FIGURES, ENDINGS):
        for path in sheet.path.glob(old + ending):
            if path.name.removesuffix(ending) not in names:
                path.unlink()
    return names


def draw_asked(
    group: Group, specs: dict[str, Spec], sheet: Sheet, fonts: Sequence[str] = ()
) -> list[str]:
    """Draw the figures of `specs` alone."""
    with drawing(fonts):
        return _draw_specs(group, shown_of(group), specs, sheet)


def _draw_specs(group: Group, shown: Group, specs: dict[str, Spec], sheet: Sheet) -> list[str]:
    """Draw figures of curves, those that are `shown`, and figures of points."""
    names = [name for name, spec in specs.items() if spec.shows_curves]
    for name in names:
        draw_progress(shown, specs[name], sheet / name)
    points = {name: spec for name, spec in specs.items() if spec.x and not spec.shows_curves}
    for name, spec in points.items():
        if lines := lines_of(group, spec):
            draw_points(group, spec, lines, sheet / name)
            names.append(name)
    return names
