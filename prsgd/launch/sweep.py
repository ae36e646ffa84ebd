"""The runs of one command, as jobs of Hydra's: a batch is checked before its first run trains."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.core.utils import JobReturn, JobStatus

from prsgd.config.compose import runs_of
from prsgd.config.naming import run_name
from prsgd.config.plan import Screen
from prsgd.config.schema import Run
from prsgd.console import print_error, say
from prsgd.errors import why
from prsgd.files import home_expanded
from prsgd.launch.elsewhere import jobs_at_once, train_elsewhere
from prsgd.launch.notes import about_data, keep_figures, skipped
from prsgd.launch.objective import Ended, check_objective, mean
from prsgd.launch.planning import fitting, plan_runs, sharing
from prsgd.launch.process import CODES
from prsgd.launch.runs import Ready, prepared, train_job, train_runs
from prsgd.launch.side_by_side import Lost, side_by_side
from prsgd.launch.torchrun import torchrun_rank

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from prsgd.config.launcher import Batch

T = TypeVar("T")
Figures = dict[str, Any]  # what an experiment says of its figures


class Stopped(Exception):
    """No further run of the sweep begins."""


class Sweep:
    """The runs of one command, and what became of them. It does the jobs that Hydra composes."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = list(arguments)
        self.codes: dict[Path, int | None] = {}  # exit codes by run folder; None: it never ended
        self.signal = 0  # the exit code that tells of a signal
        self.failed = False  # whether a job failed that no run folder tells of
        self.maximises = False
        self.searched: list[tuple[float, str]] = []  # what a sweeper learned of each job

    def __call__(self, config: DictConfig) -> float | None:
        """Train the run of a configuration, or those of its table."""
        runs, figures = runs_of([config], self.arguments)
        check_objective(config.objective, runs)
        asked = [(run, None) for run in runs]
        ready, at_once = self.ready(asked, figures, config.jobs, alone=len(runs) == 1)
        jobs = [([own], partial(train_job, [own], config)) for own in ready]
        values = [self._noted(own, ended) for own, ended in self._done(jobs, at_once)]
        return mean(values, len(ready))

    def go_on(self, run: Run, folder: Path) -> None:
        """Train the run of a folder."""
        ready, _ = self.ready([(run, folder)], {}, alone=True)
        self._noted(ready, Ended(None, train_runs(ready)))

    def launch(self, batch: Batch) -> Sequence[JobReturn]:
        """Train the runs of a batch of jobs. `Stopped` where a signal ended one."""
        made = [runs_of([config], self.arguments) for config in batch.keys]
        for config, (runs, _) in zip(batch.keys, made, strict=True):
            check_objective(config.objective, runs)
        returns = self._here(batch, made) if batch.is_ours else self._elsewhere(batch, made)
        if not batch.is_grid:
            self._remember(batch, returns)
        return returns

    def _here(self, batch: Batch, made: Sequence[tuple[list[Run], Figures]]) -> list[JobReturn]:
        asked = [(run, None) for runs, _ in made for run in runs]
        figures, jobs = made[-1][1], batch.keys[-1].jobs
        ready, at_once = self.ready(asked, figures, jobs, all_known=batch.is_whole)
        of_jobs = [k for k, (runs, _) in enumerate(made) for _ in runs]  # the job of each run
        tasks = [
            ([own], partial(_job_of_hydra, batch, k, own))
            for k, own in zip(of_jobs, ready, strict=True)
        ]
        returns = [JobReturn() for _ in made]
        values: list[list[float | None]] = [[] for _ in made]
        for k, (own, returned) in zip(of_jobs, self._done(tasks, at_once), strict=False):
            if isinstance(returned, Lost):
                values[k].append(self._noted(own, returned))
            else:
                values[k].append(self._noted(own, returned.return_value))
                returns[k] = returned
        if self.signal:
            raise Stopped
        for returned, found in zip(returns, values, strict=True):
            returned.status = JobStatus.COMPLETED
            returned.return_value = mean(found, len(found))
        return returns

    def _elsewhere(
        self, batch: Batch, made: Sequence[tuple[list[Run], Figures]]
    ) -> list[JobReturn]:
        """A job whose runs are those of an earlier one too is sent when all others have ended."""
        outs = (home_expanded("out", run.out) for runs, _ in made for run in runs)
        keep_figures(outs, made[-1][1])
        task = partial(train_elsewhere, self.arguments, jobs_at_once(batch))
        by_job: dict[int, JobReturn] = {}
        try:
            for jobs in filter(None, _new_and_repeated([runs for runs, _ in made])):
                by_job |= zip(jobs, batch.send(task, jobs, len(by_job)), strict=True)
        except KeyboardInterrupt as error:
            self.signal = 128 + signal.SIGINT
            raise Stopped from error
        except Exception as error:
            print_error(f"hydra.launcher: {type(error).__name__}: {why(error)}")
            self.failed = True
            raise Stopped from error
        returns = [by_job[job] for job in range(len(made))]
        for overrides, returned in zip(batch.overrides, returns, strict=True):
            if returned.status is JobStatus.COMPLETED:
                returned.return_value = self._noted([], returned.return_value)
                continue
            print_error(f"{' '.join(overrides)}: {why(returned._return_value)}")
            self.failed = True
            if batch.is_grid:  # its sweeper would raise the error once more
                returned.status, returned.return_value = JobStatus.COMPLETED, None
        return returns

    def _remember(self, batch: Batch, returns: Sequence[JobReturn]) -> None:
        """The value of each job that has one, with the keys in which the jobs differ."""
        self.maximises = batch.maximises
        fixed = set(batch.master.hydra.overrides.task)
        for overrides, returned in zip(batch.overrides, returns, strict=True):
            if returned.status is JobStatus.COMPLETED and returned.return_value is not None:
                own = [line for line in overrides if line not in fixed]
                self.searched.append((returned.return_value, " ".join(own)))

    def ready(
        self,
        asked: Sequence[tuple[Run, Path | None]],
        figures: Figures,
        jobs: int | str = 1,
        alone: bool = False,
        all_known: bool = True,
    ) -> tuple[list[Ready], int]:
        """The runs, ready to be trained, and how many of them at the same time.

        What is known of their data and what is skipped is said, and figures.yaml is written.
        """
        planned = plan_runs(asked, alone)
        once = {p.folder.path: p for p in planned}
        for path, p in once.items():
            if (path / "config.yaml").exists():
                p.folder.config()  # a `UserError` for a record that cannot be read
        pending = [p for p in once.values() if not p.has_ended]
        at_once = fitting(pending, jobs)
        if not torchrun_rank():
            lines = [*about_data(planned)]
            lines += [skipped(p.folder, p.run.profile) for p in once.values() if p.has_ended]
            for line in lines:
                say(line)
            keep_figures((path.parent for path in once), figures)
        if at_once > 1:
            planned = [sharing(p, at_once) for p in planned]
        numbered = sum(code is not None for code in self.codes.values())
        self.codes |= dict.fromkeys(once, None)
        return prepared(planned, numbered, all_known), at_once

    def _done(
        self, jobs: Sequence[tuple[list[Ready], Callable[[Screen | None], T]]], at_once: int
    ) -> Iterator[tuple[list[Ready], Any]]:
        """The runs of each job and what it returns, in their order, until a signal comes.

        A job whose runs are those of an earlier one too comes when all others have ended.
        """
        found: dict[int, Any] = {}
        if at_once > 1:
            first = [k for k, (own, _) in enumerate(jobs) if not any(r.repeats for r in own)]
            returned, self.signal = side_by_side([jobs[k][1] for k in first], at_once)
            found = dict(zip(first, returned, strict=True))
        for place, (own, task) in enumerate(jobs):
            if place not in found and self.signal:
                return
            value = found[place] if place in found else task(None)
            if value is None:  # it did not begin
                return
            yield own, value

    def _noted(self, ready: Sequence[Ready], ended: Ended | Lost) -> float | None:
        """Keep how a job ended; returns its objective."""
        if isinstance(ended, Lost):
            ended = _lost(ready, ended)
        self.codes |= ended.codes
        self.signal = self.signal or ended.signal
        return ended.objective


def _new_and_repeated(jobs: Sequence[Sequence[Run]]) -> tuple[list[int], list[int]]:
    """The jobs whose runs are all new, and those with a run of an earlier job."""
    known, new, repeated = set[tuple[str, str]](), list[int](), list[int]()
    for job, runs in enumerate(jobs):
        names = {(run.out, run_name(run, run.precision, "")) for run in runs}
        (repeated if names & known else new).append(job)
        known |= names
    return new, repeated


def _job_of_hydra(batch: Batch, place: int, ready: Ready, screen: Screen | None) -> JobReturn:
    """One run of a job; Hydra's callbacks are told of each."""
    returned = batch.run(place, lambda config: train_job([ready], config, screen))
    if returned.status is not JobStatus.COMPLETED:
        raise returned._return_value
    return returned


def _lost(ready: Sequence[Ready], how: Lost) -> Ended:
    """The end of a job whose process was lost. A rank that outlived it may have said more."""
    codes = {}
    for own in ready:
        status, _ = own.planned.folder.status()
        if status == "running":
            own.planned.folder.set_status("failed", str(how))
        codes[own.path] = CODES.get(status, CODES["failed"])
        if codes[own.path] == CODES["failed"]:
            print_error(f"{own.path.name}: {how}")
    return Ended(None, codes)
