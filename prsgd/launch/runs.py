"""The runs of one job of Hydra's, from their plans to their exit codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.config.plan import Job, Screen
from prsgd.console import print_error, track
from prsgd.data.cache import prepare
from prsgd.data.digest import cache_folder
from prsgd.errors import UserError, why
from prsgd.launch.job import launch
from prsgd.launch.objective import Ended, ended
from prsgd.launch.planning import PlannedRun
from prsgd.launch.process import CODES, gave_up
from prsgd.launch.torchrun import torchrun_rank
from prsgd.run_folder import RunFolder

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Ready:
    """A planned run whose data are read, unless it has ended. The screen calls it `title`.

    One that `repeats` is trained by an earlier job.
    """

    planned: PlannedRun
    cache: Path | None
    title: str
    repeats: bool

    @property
    def path(self) -> Path:
        return self.planned.folder.path


def prepared(planned: Sequence[PlannedRun], before: int = 0, all_known: bool = True) -> list[Ready]:
    """The runs with their data read. Titles number those that have not ended.

    `before` runs of the sweep have been numbered. Unless it is `all_known`, nobody can say of how
    many.
    """
    once = {p.folder.path: p for p in planned}
    pending = [path for path, p in once.items() if not p.has_ended]
    caches = {path: prepare(once[path].run.data, cache_folder(), track) for path in pending}
    of = f"/{len(pending)}" if all_known else ""
    titles = {path: f"[{k}{of}] {path.name}" for k, path in enumerate(pending, before + 1)}
    if len(once) == 1 and all_known:
        titles = {path: path.name for path in pending}
    paths = [p.folder.path for p in planned]
    return [
        Ready(p, caches.get(path), titles.get(path, path.name), path in paths[:place])
        for place, (p, path) in enumerate(zip(planned, paths, strict=True))
    ]


def train_job(ready: Sequence[Ready], config: DictConfig, screen: Screen | None = None) -> Ended:
    """Train the runs of one of Hydra's jobs; what it comes to."""
    from hydra.core.hydra_config import HydraConfig

    from prsgd.config.launcher import maximises

    return ended(train_runs(ready, screen), config.objective, maximises(HydraConfig.get()))


def train_runs(ready: Sequence[Ready], screen: Screen | None = None) -> dict[Path, int]:
    """Train runs one after another, until a signal ends one; returns their exit codes."""
    codes = dict[Path, int]()
    for own in ready:
        codes[own.path] = _train(own, screen)
        if codes[own.path] >= 128:
            break
    return codes


def _train(ready: Ready, screen: Screen | None) -> int:
    """The exit code of a run, which is trained by the process that owns its folder."""
    p = ready.planned
    if ready.cache is None or ready.repeats or p.has_ended:
        return CODES.get(p.folder.status()[0], CODES["failed"])
    job = Job(p.run, p.plan, ready.path, ready.cache, ready.title, screen)
    if torchrun_rank():
        return launch(job)
    try:
        with owned(job):
            return launch(job)
    except (UserError, OSError) as error:
        print_error(why(error))
        return CODES["failed"]


@contextmanager
def owned(job: Job) -> Iterator[None]:
    """The job's folder has its configuration, and nobody else trains in it meanwhile.

    `UserError` where somebody does, or where the run has failed for good.
    """
    folder = RunFolder(job.folder)
    folder.create(job.run.as_dict(), job.run.measures())
    with folder.held(print_error):
        if gave_up(folder):
            raise UserError(f"{job.folder.name} failed: {folder.status()[1]}")
        folder.set_status("running")
        yield
