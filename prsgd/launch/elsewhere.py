"""Jobs that a launcher of Hydra's sends to other processes, as joblib's and submitit's do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from prsgd.config.compose import runs_of
from prsgd.config.plan import Screen
from prsgd.console import print_error
from prsgd.launch.gpus import seen_by
from prsgd.launch.objective import Ended
from prsgd.launch.planning import plan_runs, sharing
from prsgd.launch.runs import prepared, train_job
from prsgd.locks import Taken, held

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from prsgd.config.launcher import Batch

JOBLIB = ".JoblibLauncher"
SUBMITIT_LOCAL = ".hydra_submitit_launcher.submitit_launcher.LocalLauncher"


def jobs_at_once(batch: Batch) -> int:
    """Jobs of the batch that share this machine, as far as its launcher is known.

    Those of others have machines of their own, or parts of one that they cannot leave.
    """
    launcher, jobs = batch.launcher, len(batch.keys)
    if launcher._target_.endswith(JOBLIB):
        from joblib import effective_n_jobs

        return min(jobs, int(effective_n_jobs(launcher.n_jobs)))
    return jobs if launcher._target_.endswith(SUBMITIT_LOCAL) else 1


def train_elsewhere(arguments: list[str], at_once: int, config: DictConfig) -> Ended:
    """Train the runs of a job; so many jobs have this machine at the same time."""
    os.environ["MPLBACKEND"] = "agg"
    runs, _ = runs_of([config], arguments)
    with _slot(at_once) as slot:
        planned = [sharing(p, at_once) for p in plan_runs([(run, None) for run in runs], False)]
        with seen_by(slot, at_once):
            return train_job(prepared(planned), config, Screen())


@contextmanager
def _slot(at_once: int) -> Iterator[int]:
    """A number below `at_once` that no other job of the sweep has meanwhile on this machine."""
    folder = Path(HydraConfig.get().sweep.dir)
    for slot in range(at_once):
        try:
            with held(folder / f".slot{slot}", print_error):
                yield slot
                return
        except Taken:
            continue
    yield 0
