"""How and where runs would train: everything that can be checked before the first one starts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prsgd.config.naming import run_name, run_name_of_version_1
from prsgd.config.plan import Plan, decide
from prsgd.config.schema import Run
from prsgd.config.start import located, without_lost_start
from prsgd.console import amount
from prsgd.cost import estimate
from prsgd.errors import UserError
from prsgd.files import home_expanded
from prsgd.launch.own_model import parameter_sizes
from prsgd.launch.torchrun import torchrun_rank
from prsgd.run_folder import ENDED, RunFolder
from prsgd.training.machine import physical_memory, this_machine
from prsgd.training.trackers import refuse_missing

PRECISIONS = ("fp32", "bf16")  # what `auto` may come to


@dataclass(frozen=True)
class PlannedRun:
    """A run, how it would start, and its folder."""

    run: Run
    plan: Plan
    folder: RunFolder
    sizes: tuple[int, ...] = ()  # the numbers of each parameter, unless the run has ended

    @property
    def has_ended(self) -> bool:
        return self.folder.status()[0] in ENDED

    @property
    def steps(self) -> int:
        return self.run.steps(self.run.samples())


def plan_runs(
    runs: Sequence[tuple[Run, Path | None]], alone: bool, may_fork: bool = True
) -> list[PlannedRun]:
    """How and where each run would train, in a folder of its own or in the one given.

    `alone` says that this process trains no other run. Unless it `may_fork`, a fresh interpreter
    starts the ranks. Runs with one name are one run: the first.
    """
    for run, folder in runs:
        run.steps(run.samples())
        check_writable(folder or home_expanded("out", run.out))
        refuse_missing(run.tracker)
    if torchrun_rank() is not None and len(runs) > 1:
        raise UserError("-m: a sweep cannot run under torchrun; start one torchrun per run")
    machine = this_machine()
    planned: dict[Path, PlannedRun] = {}
    paths = list[Path]()
    for run, given in runs:
        plan = decide(run, machine, os.environ, alone, may_fork)
        decided = replace(_started(run, given), precision=plan.precision, data=run.data.located())
        path = given or home_expanded("out", run.out) / _name(decided)
        if given is None:
            refuse_begun(RunFolder(path), run, decided)
        elif given.exists():
            refuse_changed(RunFolder(path), decided)
        planned.setdefault(path, PlannedRun(decided, plan, RunFolder(path)))
        paths.append(path)
    unfinished = [path for path, p in planned.items() if not p.has_ended]
    sizes = parameter_sizes(
        (without_lost_start(p.run, p.folder), p.plan)
        for p in (planned[path] for path in unfinished)
    )
    for path, of_run in zip(unfinished, sizes, strict=True):
        planned[path] = replace(planned[path], sizes=tuple(of_run))
    check_memory([planned[path] for path in unfinished])
    return [planned[path] for path in paths]


def _started(run: Run, given: Path | None) -> Run:
    """The run with its start as in a record. A file that is not needed any more may be gone."""
    if given:
        folder = RunFolder(given)
        if folder.status()[0] in ENDED or without_lost_start(run, folder) is not run:
            return run
    return located(run)


def _name(run: Run) -> str:
    return run_name(run, run.precision, run.data.fingerprint())


def refuse_changed(folder: RunFolder, run: Run) -> None:
    """Refuse to go on where the data or the keys are not those that the run began with."""
    names, fingerprints = {_name(run)}, {None, run.data.fingerprint()}
    if folder.version == 1:
        names.add(run_name_of_version_1(run, run.precision))
        fingerprints.add(run.data.fingerprint_of_version_1())
    if folder.fingerprint() not in fingerprints:
        raise UserError(f"{folder.path}: the data have changed since it was started")
    name = folder.path.absolute().name
    if re.search("-[0-9a-f]{8}$", name) and name not in names:
        raise UserError(
            f"{folder.path}/config.yaml has other keys than the run began with, as its name shows; "
            "restore them, or begin a run with these by prsgd train"
        )


def refuse_begun(folder: RunFolder, asked: Run, decided: Run) -> None:
    """Refuse to start anew what is unfinished in a folder of another name.

    Version 0.1 had other names, and `precision=auto` comes to another one on another machine.
    """
    if folder.status()[0] != "new":
        return
    others = PRECISIONS if asked.precision == "auto" else [decided.precision]
    found = {
        folder.path.with_name(run_name_of_version_1(decided, other)): "begun by version 0.1"
        for other in others
    }
    for other in others:
        name = run_name(decided, other, decided.data.fingerprint())
        found[folder.path.with_name(name)] = f"begun with precision={other}"
    for path, how in found.items():
        if path != folder.path and RunFolder(path).status()[0] not in ("new", *ENDED):
            raise UserError(
                f"{path} is this run, {how} and not finished: go on by `prsgd run {path}`, or "
                "choose another out to begin anew"
            )


def fitting(planned: Sequence[PlannedRun], jobs: int | str) -> int:
    """How many of the runs train at the same time, as the key `jobs` says.

    `auto` fills the machine's GPUs or cores with runs that need fewer than there are, as far as
    its memory goes.
    """
    if jobs != "auto" and (type(jobs) is not int or jobs < 1):
        raise UserError(f"jobs={jobs}: must be auto or a whole number above 0")
    machine = this_machine()
    if len(planned) < 2 or torchrun_rank() is not None or not machine.linux:
        return 1
    if jobs != "auto":
        return min(int(jobs), len(planned))
    there = {"cuda": machine.gpus, "cpu": machine.cores}
    rooms = [there[p.plan.device] // p.plan.processes for p in planned]
    needed = max(estimate.memory(p.run, p.sizes) if p.plan.device == "cpu" else 0 for p in planned)
    if needed:
        rooms.append(int(physical_memory() // needed))
    return max(1, min(len(planned), *rooms))


def sharing(planned: PlannedRun, at_once: int) -> PlannedRun:
    """The run with its part of a machine that has so many runs at the same time."""
    machine = this_machine().shared_by(at_once)
    return replace(planned, plan=decide(planned.run, machine, os.environ, alone=False))


def check_memory(planned: Sequence[PlannedRun]) -> None:
    """Refuse models that this machine could not hold; several machines hold a part each."""
    if torchrun_rank() is not None:
        return
    there = physical_memory()
    for p in planned:
        needed = estimate.memory(p.run, p.sizes)
        if p.plan.device == "cpu" and needed > there:
            raise UserError(
                f"workers={p.run.workers}: their {p.run.model.title} models and gradients need "
                f"{amount(needed)}, and this machine has {amount(there)} of memory"
            )


def check_writable(folder: Path) -> None:
    """Refuse an `out` that could not be made or written, without making it."""
    for parent in (folder, *folder.absolute().parents):
        if parent.exists():
            if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
                return
            break
    raise UserError(
        f"out={folder}: cannot be written; it must be in a folder that you may write to"
    )
