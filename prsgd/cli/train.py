"""`prsgd train`: plan the runs, train what is not finished, and show what came out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from prsgd.config.choices import split_config_dirs
from prsgd.config.compose import compose, hydra_jobs
from prsgd.config.schema import Run

if TYPE_CHECKING:
    from prsgd.launch.sweep import Sweep

SEVERITY = (0, 3, 1)  # exit codes, the worst last


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        return show_help(arguments)
    if "--dry-run" in arguments:
        runs, _ = compose([a for a in arguments if a != "--dry-run"])
        return show_plan(runs)
    from prsgd.launch.sweep import Stopped, Sweep

    sweep = Sweep(arguments)
    with suppress(Stopped):
        hydra_jobs(arguments, sweep)
    return close(sweep)


def show_plan(runs: Sequence[Run]) -> int:
    """Show what would be trained."""
    from prsgd.cli import train_screens as screens
    from prsgd.console import say
    from prsgd.launch.notes import about_data
    from prsgd.launch.planning import plan_runs

    planned = plan_runs([(run, None) for run in runs], alone=len(runs) == 1)
    for line in about_data(planned):
        say(line)
    screens.show_plan([*{p.folder.path: p for p in planned}.values()])
    return 0


def close(sweep: Sweep) -> int:
    """Show what became of the runs; returns the exit code.

    0 done, 1 failed, 3 diverged, 128 + signal interrupted; of a sweep, the worst.
    """
    from prsgd.cli import train_screens as screens
    from prsgd.launch.torchrun import torchrun_rank
    from prsgd.run_folder import RunFolder

    codes = [code for code in sweep.codes.values() if code is not None]
    if torchrun_rank() is not None:  # torchrun takes any other code for a crash
        return 1 if 1 in codes else 0
    folders = [RunFolder(path) for path in sweep.codes]
    begun = [folder for folder in folders if folder.status()[0] != "new"]
    if len(folders) > 1 and begun:
        screens.show_results(begun)
    if sweep.searched:
        screens.show_best(sweep.searched, sweep.maximises)
    return sweep.signal or max([1 if sweep.failed else 0, *codes], key=SEVERITY.index)


def show_help(arguments: list[str]) -> int:
    """All of it, or that of the names that are given; on a terminal page by page."""
    import pydoc
    import sys

    from prsgd.cli.about import about
    from prsgd.cli.help import train_help

    folders, rest = split_config_dirs(arguments)
    names = [own for own in rest if not own.startswith("-")]
    text = "\n".join(about(name, folders) for name in names) if names else train_help(folders)
    if sys.stdout.isatty() and not names:
        pydoc.pager(text)
    else:
        print(text, end="")
    return 0
