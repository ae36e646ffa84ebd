"""Figures and tables from run folders: only records are read, and no torch is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.console import say
from prsgd.errors import UserError

if TYPE_CHECKING:
    from prsgd.cost.network import Network
    from prsgd.report.curves import Group
    from prsgd.report.declared import Best
    from prsgd.report.sheet import Sheet
    from prsgd.report.specs import Spec


@dataclass(frozen=True)
class Asked:
    """What is asked for on the command line, in place of what figures.yaml says."""

    best: Best | None = None  # what each curve is drawn at the best value of
    network: Network | None = None  # that time is drawn for as well
    where: Sequence[str] = ()  # values that runs must have
    axes: tuple[str, str] = ("", "")  # x and y of the only figure
    formats: tuple[str, ...] = ("png", "svg")
    width: str = "page"


@dataclass(frozen=True)
class Task:
    """What is drawn, its figures, their folder, and the network that time is drawn for."""

    group: Group
    specs: dict[str, Spec]
    sheet: Sheet
    network: Network | None = None
    alone: bool = False  # whether these figures are all


def report(results: Path, out: Path | None = None, asked: Asked | None = None) -> int:
    """Draw every group of comparable runs under `results`.

    The figures of the runs in a folder go into its subfolder figures/. With `out` they go into the
    folder of `out` that has the same place there as the runs have in `results`.
    """
    from prsgd.report.asked import tuned
    from prsgd.report.attempts import attempts
    from prsgd.report.curves import groups
    from prsgd.report.runs import load
    from prsgd.report.where import those_with

    asked = asked or Asked()
    runs, left_out = load(results)
    for path, why in left_out:
        say(f"left out: {path} ({why})")
    if not runs:
        raise UserError(f"{results}: there is no finished run in it; start one with prsgd train")
    tried = attempts(path for path, _ in left_out)
    runs, tried = those_with(runs, tried, asked.where)
    drawn = tuned(groups(runs), tried, asked.best)
    for text in _drawn(_tasks(drawn, results, out, asked)):
        for line in text.splitlines():
            say(line)
    return 0


def draw_run(folder: Path, out: Path) -> list[Path]:
    """The figures of one finished run, as png files in the folder `out`."""
    from prsgd.report.curves import groups
    from prsgd.report.runs import load_run
    from prsgd.report.sheet import Sheet
    from prsgd.report.specs import specs

    [group] = groups([load_run(folder)])
    _draw(Task(group, specs(group), Sheet(out)))
    return sorted(out.glob("*.png"))


def _tasks(drawn: Sequence[Group], results: Path, out: Path | None, asked: Asked) -> list[Task]:
    from prsgd.report.axes import asked_specs
    from prsgd.report.declared import declared_network
    from prsgd.report.sheet import Sheet
    from prsgd.report.specs import specs

    sheets = [Sheet(_place(g, results, out), asked.width, asked.formats) for g in drawn]
    if not any(asked.axes):
        return [
            Task(group, specs(group), sheet, asked.network or declared_network(group))
            for group, sheet in zip(drawn, sheets, strict=True)
        ]
    of_groups = zip(drawn, asked_specs(drawn, *asked.axes), sheets, strict=True)
    return [Task(group, own, sheet, alone=True) for group, own, sheet in of_groups if own]


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
    from prsgd.report.figures import draw, draw_asked, words_in
    from prsgd.report.fonts import fonts_for
    from prsgd.report.replayed import refusal
    from prsgd.report.room import hint
    from prsgd.report.tables import write_summary

    group, sheet, folder = task.group, task.sheet, task.sheet.path
    why = task.network and refusal(group)
    fonts, boxes = fonts_for(words_in(group, task.specs))
    summary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if task.alone:
            names = draw_asked(group, task.specs, sheet, fonts)
        else:
            names = draw(group, task.specs, sheet, fonts, None if why else task.network)
            summary = write_summary(group, folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); say with --out where figures may go"
        ) from error
    kinds = ", ".join([*sheet.formats, "data as csv"])
    tables = " and summary.md, summary.csv" * bool(summary)
    drawn = f"{folder}: {', '.join(names)} ({kinds}){tables}"
    unseen = f"no installed font has {boxes}: in the png files boxes stand there" if boxes else ""
    unmoved = f"not drawn for a network: {why}" if why else ""
    return "\n".join(filter(None, [summary, drawn, hint(group), unmoved, unseen]))
