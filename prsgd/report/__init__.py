"""Figures and tables from run folders: only records are read, and no torch is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.console import say
from prsgd.errors import UserError

if TYPE_CHECKING:
    from prsgd.cost.network import Network
    from prsgd.report.curves import Group
    from prsgd.report.declared import Best
    from prsgd.report.specs import Spec

# what is drawn, its figures, their folder, and the network that time is drawn for
Task = tuple["Group", dict[str, "Spec"], Path, "Network | None"]


def report(
    results: Path,
    out: Path | None = None,
    best: Best | None = None,
    network: Network | None = None,
    where: Sequence[str] = (),
) -> int:
    """Draw every group of comparable runs under `results`.

    The figures of the runs in a folder go into its subfolder figures/. With `out` they go into the
    folder of `out` that has the same place there as the runs have in `results`. `best`
    says what each curve is drawn at the best value of, in place of what figures.yaml says, and
    `network` which network time is drawn for as well. `where` names values that runs must have.
    """
    from prsgd.report.asked import tuned
    from prsgd.report.curves import groups
    from prsgd.report.declared import declared_network
    from prsgd.report.runs import load
    from prsgd.report.specs import specs
    from prsgd.report.where import those_with

    runs, left_out = load(results)
    for path, why in left_out:
        say(f"left out: {path} ({why})")
    if not runs:
        raise UserError(f"{results}: there is no finished run in it; start one with prsgd train")
    runs = those_with(runs, where)
    drawn = tuned(groups(runs), [path for path, _ in left_out], best)
    tasks = [(g, specs(g), _place(g, results, out), network or declared_network(g)) for g in drawn]
    for text in _drawn(tasks):
        for line in text.splitlines():
            say(line)
    return 0


def draw_run(folder: Path, out: Path) -> list[Path]:
    """The figures of one finished run, as png files in the folder `out`."""
    from prsgd.report.curves import groups
    from prsgd.report.runs import load_run
    from prsgd.report.specs import specs

    [group] = groups([load_run(folder)])
    _draw((group, specs(group), out, None))
    return sorted(out.glob("*.png"))


def _place(group: Group, results: Path, out: Path | None) -> Path:
    """The folder of a group's figures; `results` may be a run folder itself."""
    folder = group.folder if group.folder.is_relative_to(results) else results
    base = folder / "figures" if out is None else out / folder.relative_to(results)
    return base / group.slug


def _drawn(tasks: list[Task]) -> Iterator[str]:
    """What is said of each task, in their order; several are drawn at the same time."""
    if len(tasks) == 1:
        yield from map(_draw, tasks)
        return
    processes = min(len(tasks), os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks)


def _draw(task: Task) -> str:
    from prsgd.report.figures import draw, words_in
    from prsgd.report.fonts import fonts_for
    from prsgd.report.replayed import refusal
    from prsgd.report.room import hint
    from prsgd.report.tables import write_summary

    group, figures, folder, network = task
    why = network and refusal(group)
    fonts, boxes = fonts_for(words_in(group, figures))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = draw(group, figures, folder, fonts, None if why else network)
        summary = write_summary(group, folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); say with --out where figures may go"
        ) from error
    drawn = f"{folder}: {', '.join(names)} (png, svg) and summary.md, summary.csv"
    unseen = f"no installed font has {boxes}: in the png files boxes stand there" if boxes else ""
    unmoved = f"not drawn for a network: {why}" if why else ""
    return "\n".join(filter(None, [summary, drawn, hint(group), unmoved, unseen]))
