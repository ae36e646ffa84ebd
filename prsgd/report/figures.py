"""The figures of one group of runs, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prsgd.cost.network import Network
from prsgd.report.bandwidth import draw_network
from prsgd.report.curves import Group
from prsgd.report.drift import draw_drift, drifts
from prsgd.report.ends import draw_ends
from prsgd.report.points import draw_points, lines_of
from prsgd.report.progress import draw_progress
from prsgd.report.room import shown_of
from prsgd.report.sent import draw_sent, is_coded
from prsgd.report.specs import Spec
from prsgd.report.style import drawing
from prsgd.report.tried import draw_tried

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
    folder: Path,
    fonts: Sequence[str] = (),
    network: Network | None = None,
) -> list[str]:
    """Draw a group's figures into a folder, and remove older ones; returns their names."""
    shown = shown_of(group)
    look = specs["curves"]
    points = {name: spec for name, spec in specs.items() if spec.x and not spec.shows_curves}
    names = [name for name, spec in specs.items() if spec.shows_curves]
    with drawing(fonts):
        for name in names:
            draw_progress(shown, specs[name], folder / name)
        draw_ends(shown, replace(look, panels=""), folder / "ends")
        names.append("ends")
        if any(map(drifts, shown.curves)):
            draw_drift(shown, look, folder / "drift")
            names.append("drift")
        if is_coded(group):
            draw_sent(group, look, folder / "sent")
            names.append("sent")
        if any(curve.search for curve in shown.curves):
            names += draw_tried(shown, look, folder)
        if network:
            names += draw_network(shown, network, look, folder)
        for name, spec in points.items():
            if lines := lines_of(group, spec):
                draw_points(group, spec, lines, folder / name)
                names.append(name)
    for old in OPTIONAL_FIGURES:
        for path in folder.glob(f"{old}.[ps][nv]g"):
            if path.stem not in names:
                path.unlink()
    return names
