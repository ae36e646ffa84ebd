"""`prsgd train`: plan the runs, train what is not finished, and show what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prsgd.config.choices import split_config_dirs
from prsgd.config.compose import compose
from prsgd.config.schema import Run

if TYPE_CHECKING:
    from prsgd.launch.sweep import PlannedRun

SEVERITY = (0, 3, 1)  # exit codes, the worst last


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        return show_help(arguments)
    dry_run = "--dry-run" in arguments

    def train(runs: list[Run], figures: Mapping[str, Any]) -> int:
        return execute([(run, None) for run in runs], dry_run, figures)

    runs, figures = compose([a for a in arguments if a != "--dry-run"], train)
    return train(runs, figures) if runs else 0


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


def execute(
    runs: Sequence[tuple[Run, Path | None]], dry_run: bool, figures: Mapping[str, Any]
) -> int:
    """Train the runs, each in a folder of its own or in the one given; returns the exit code.

    0 done, 1 failed, 3 diverged, 128 + signal interrupted; of a sweep, the worst.
    """
    from prsgd.cli import train_screens as screens
    from prsgd.console import say
    from prsgd.launch.notes import about_data, skipped
    from prsgd.launch.sweep import plan_runs, train_all
    from prsgd.launch.torchrun import torchrun_rank
    from prsgd.run_folder import ENDED

    planned = plan_runs(runs)
    if not torchrun_rank():
        for line in about_data(planned):
            say(line)
    if dry_run:
        screens.show_plan(planned)
        return 0
    pending = []
    for p in planned:
        if (p.folder.path / "config.yaml").exists():
            p.folder.config()  # raises a UserError for a record that cannot be read
        if p.folder.status()[0] not in ENDED:
            pending.append(p)
        elif not torchrun_rank():
            say(skipped(p.folder, p.run.profile))
    if not torchrun_rank():
        keep_figures(planned, figures)
    codes = train_all(pending, len(planned))
    if torchrun_rank() is not None:  # torchrun takes any other code for a crash
        return 1 if 1 in codes else 0
    begun = [p.folder for p in planned if p.folder.status()[0] != "new"]
    if len(planned) > 1 and begun:
        screens.show_results(begun)
    return _exit_code(planned, codes)


def keep_figures(planned: Sequence[PlannedRun], figures: Mapping[str, Any]) -> None:
    """Write what an experiment says of its figures beside its runs, as figures.yaml."""
    import yaml

    from prsgd.files import write_atomically

    if figures:
        text = yaml.safe_dump(dict(figures), sort_keys=False, allow_unicode=True)
        for out in {p.folder.path.parent for p in planned}:
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / "figures.yaml", text)


def _exit_code(planned: Sequence[PlannedRun], codes: list[int]) -> int:
    if codes and codes[-1] >= 128:
        return codes[-1]
    diverged = any(p.folder.status()[0] == "diverged" for p in planned)
    return max([*codes, 3 if diverged else 0], key=SEVERITY.index)
