"""Figures and tables from run folders. Reads records only; imports no torch."""

from __future__ import annotations

from pathlib import Path

from prsgd.errors import Refused


def report(results: Path, out: Path) -> int:
    """Draw every group of comparable runs under `results` into a folder of `out`."""
    from prsgd.report.figures import draw
    from prsgd.report.load import groups, load
    from prsgd.report.tables import write_summary

    runs, left_out = load(results)
    for path, why in left_out:
        print(f"left out: {path} ({why})")
    if not runs:
        raise Refused(f"{results}: there is no finished run in it; start one with prsgd train")
    for group in groups(runs):
        folder = out / group.slug
        folder.mkdir(parents=True, exist_ok=True)
        names = draw(group, folder)
        print(write_summary(group, folder))
        print(f"{folder}: {', '.join(names)} (png, svg) and summary.md, summary.csv")
    return 0
