"""Run one job to its end, in this process or in ranks."""

from __future__ import annotations

import signal

from prsgd.config.plan import Job
from prsgd.launch.elastic import cannot_start, rank_main, start_ranks
from prsgd.launch.process import CODES, print_failure, work
from prsgd.run_folder import RunFolder
from prsgd.training.interrupt import Interrupt, signal_of


def launch(job: Job) -> int:
    """Run the job and return the exit code; its status is in the run folder."""
    if not job.plan.has_agent:
        return work(job, Interrupt())
    try:
        return launch_ranks(job, Interrupt(shared=True))
    except OSError as error:
        folder = RunFolder(job.folder)
        folder.set_status("failed", cannot_start(error))
        print_failure(folder)
        return CODES["failed"]


def launch_ranks(job: Job, interrupt: Interrupt) -> int:
    """The same in ranks; an OSError if they cannot be started."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    folder = RunFolder(job.folder)
    try:
        with interrupt:
            codes = start_ranks(
                job.plan, rank_main, job, interrupt, restarts=job.run.restarts, ours=True
            )
        code = max(codes.values())
    except SignalException as signalled:
        return 128 + signalled.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = end_of(folder, interrupt(), f"rank {rank} ended with exit code {failure.exitcode}")
    if code == CODES["failed"]:
        print_failure(folder)
    if interrupt():  # a signal ends a sweep, even if this run ended before it came
        return 128 + signal_of(interrupt())
    return code


def end_of(folder: RunFolder, stopping: int, failure: str) -> int:
    """The exit code where a rank did not return; writes down how the run ended if no rank did."""
    status, why = folder.status()
    if status == "running" and stopping:
        status, why = "interrupted", signal_of(stopping).name
        folder.set_status(status, why)
    if status == "interrupted":
        return 128 + signal.Signals[why.split()[0]]
    if status not in CODES:
        folder.set_status("failed", failure)
    return CODES.get(status, CODES["failed"])
