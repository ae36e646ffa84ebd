"""The training of one run, as each of its processes does it.

prsgd train interval=8 workers=4                            # ResNet-20 on CIFAR-10
prsgd train +experiment=quickstart interval=8 workers=4     # ResNet-8 on bundled digits
torchrun --nproc-per-node=4 -m prsgd train workers=8        # ranks of a torchrun of one's own
"""

from __future__ import annotations

import gc
import math
import os
import traceback
import zlib
from collections.abc import Callable
from contextlib import nullcontext

from prsgd.config.plan import Job
from prsgd.config.start import located, without_lost_start
from prsgd.console import print_error
from prsgd.data.cache import load
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.meeting import Meeting
from prsgd.errors import LOST, ProcessLost, UserError, lack, why
from prsgd.run_folder import RunFolder
from prsgd.training.device import device_settings
from prsgd.training.environment import describe, going_on
from prsgd.training.interrupt import leaving
from prsgd.training.profiler import profiled
from prsgd.training.session import Session
from prsgd.training.setup import build_workers
from prsgd.training.trackers.base import Outcome, Tracker
from prsgd.training.trackers.console import ConsoleTracker
from prsgd.training.trackers.csv import CsvTracker
from prsgd.training.trackers.external import external
from prsgd.training.trackers.lines import line_of


def loop(
    session: Session,
    start: int,
    interrupt: Callable[[], int],
    after_step: Callable[[], None] | None = None,
) -> Outcome:
    """The steps start + 1 .. T: compute gradients, let the algorithm step, measure where due."""
    algorithm, workers, metrics = session.run.algorithm, session.workers, session.metrics
    loss = None
    if start == 0:
        session.measure(0)
    session.clock.start()
    for t in range(start + 1, session.steps + 1):
        workers.compute_gradients(algorithm.active(t, metrics.info), signal=interrupt())
        lr = metrics.lr(t)
        algorithm.step(t, lr, workers)
        if t == session.steps:
            algorithm.finish(t, lr, workers)
        if after_step:
            with session.clock.paused():
                after_step()
        heard = session.measure(t) if metrics.due(t) else session.listen(t)
        session.progress(t, loss)
        if heard is None:
            continue
        loss = metrics.mean_loss(heard.t, heard.loss_sum) or loss
        if not math.isfinite(heard.loss_sum):
            return session.diverged(t, heard)
        if heard.signal and t < session.steps:
            return session.interrupted(t, heard.signal)
    return session.done()


def train(job: Job, interrupt: Callable[[], int], meeting: Meeting | None = None) -> Outcome:
    """Train from the newest checkpoint to the end; the status is in the run folder as well.

    `interrupt` is asked before every step for the weight of a signal that came, 0 for none.
    `meeting` is where the ranks of an agent of our own find each other.
    """
    communicator, failed = None, False
    try:
        with leaving(interrupt):
            communicator = Communicator(
                job.run.workers,
                job.plan.device,
                job.run.reduction,
                job.plan.processes,
                job.run.timeout,
                meeting,
                interrupt,
            )
        with device_settings(job.plan, job.run.reduction):
            return _train(communicator, job, interrupt)
    except Exception as error:
        failed = True
        record_failure(RunFolder(job.folder), error)  # first, as others then report a lost process
        raise
    finally:
        if communicator is not None:
            communicator.close(failed)
        if job.plan.device == "cuda" and not failed:
            gc.collect()  # workers and their parts name each other, and would keep its memory


def _train(communicator: Communicator, job: Job, interrupt: Callable[[], int]) -> Outcome:
    run, folder, is_main = job.run, RunFolder(job.folder), communicator.is_main
    if not communicator.all_equal(zlib.crc32(job.folder.name.encode())):
        raise UserError(
            "the processes were given different runs: precision and data must be equal everywhere"
        )
    task = run.task.bind(run, *load(job.data, communicator.device))
    built = without_lost_start(run, folder)
    workers = build_workers(built, task, communicator, job.plan.precision == "bf16")
    trackers: list[Tracker] = []
    if is_main:
        line = line_of(job.title or folder.path.name, job.screen)
        trackers = [CsvTracker(folder), ConsoleTracker(line, run)]
        trackers += [external(name, folder.path) for name in run.tracker]
    try:
        session = Session(job, workers, task, trackers)
        start = session.resume()
        if start == 0 and built.start != run.start:
            located(run)  # raises the UserError that the file is gone
        if is_main:
            before = folder.environment() if start else {}
            environment, note = going_on(before, describe(run, job.plan), start)
            folder.write_environment(environment)
            for told in filter(None, [note, started_again(run.restarts)]):
                session.note(told)
            folder.set_status("running")
        session.start(start)
        profile = run.profile and is_main
        with profiled(workers, folder.path) if profile else nullcontext() as after_step:
            outcome = loop(session, start, interrupt, after_step)
        if is_main:
            folder.set_status(outcome.status, outcome.why)
        session.finish(outcome)
    finally:
        for tracker in trackers:
            tracker.close()
    return outcome


def started_again(restarts: int) -> str:
    """What is said where an agent started this process anew; empty where it did not."""
    count = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return f"a process was lost: started again, {count} of {restarts} times" if count else ""


def record_failure(folder: RunFolder, error: Exception) -> None:
    """Write down why a run failed, unless another process was first.

    What stops it after a lost process was started again is more than that loss.
    """
    status, known = folder.status()
    was_lost = status == "failed" and known.startswith(LOST)
    if status != "running" and (not was_lost or isinstance(error, ProcessLost)):
        return
    try:
        folder.set_status("failed", why(error))
    except OSError:  # for instance, the disk is full
        if not isinstance(error, ProcessLost):
            print_error(why(error))
    if not isinstance(error, UserError | ProcessLost) and not lack(error):
        traceback.print_exc()
