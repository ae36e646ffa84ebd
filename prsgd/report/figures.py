"""The figures of one group of runs, as PNG and SVG."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prsgd.report.curves import Group
from prsgd.report.drift import draw_drift, drifts
from prsgd.report.ends import draw_ends
from prsgd.report.points import draw_points, lines_of
from prsgd.report.progress import draw_progress
from prsgd.report.specs import Spec
from prsgd.report.style import drawing

OPTIONAL_FIGURES = ("time", "virtual_time", "drift", "intervals", "speedup")


def draw(group: Group, specs: dict[str, Spec], folder: Path) -> list[str]:
    """Draw a group's figures into a folder, and remove older ones; returns their names."""
    look = specs["curves"]
    points = {name: spec for name, spec in specs.items() if spec.x and not spec.shows_curves}
    names = [name for name, spec in specs.items() if spec.shows_curves]
    with drawing():
        for name in names:
            draw_progress(group, specs[name], folder / name)
        draw_ends(group, replace(look, panels=""), folder / "ends")
        names.append("ends")
        if any(map(drifts, group.curves)):
            draw_drift(group, look, folder / "drift")
            names.append("drift")
        for name, spec in points.items():
            if lines := lines_of(group, spec):
                draw_points(group, spec, lines, folder / name)
                names.append(name)
    for old in {*OPTIONAL_FIGURES} - {*names}:
        for path in folder.glob(f"{old}.[ps][nv]g"):
            path.unlink()
    return names
