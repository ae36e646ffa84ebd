"""How a run is started: right here, as ranks of our own agent, or as a rank of somebody else's.

The agent is torch elastic's, in this very process. On a Linux CPU its ranks are forked from it,
after it has imported torch and computed nothing, so that no rank imports anything twice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
import uuid
from pathlib import Path

from prsgd.config import Run
from prsgd.console import refuse
from prsgd.errors import Refused
from prsgd.memory import keep_freed_memory
from prsgd.plan import Job, Machine, Plan, decide
from prsgd.records import RunFolder
from prsgd.stop import Stop, signal_of

CODES = {"done": 0, "refused": 2, "diverged": 3, "failed": 1}


def cache_folder() -> Path:
    """Where decoded sets live: $XDG_CACHE_HOME/prsgd, or ~/.cache/prsgd."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prsgd"


def torchrun_rank() -> int | None:
    """The rank that somebody else's torchrun gave this process; None without one."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def plan_of(run: Run, machine: Machine, alone: bool) -> Plan:
    """`plan.decide` in this environment."""
    return decide(run, machine, os.environ, alone)


def launch(job: Job) -> int:
    """Run the job to its end and return the exit code; its status is in the run folder."""
    start = job.plan.start
    if start == "here":
        return work(job)
    if start == "join":
        code = work(job)
        # an agent takes any other code for a crash, and may start the ranks again
        return CODES["done"] if code != CODES["failed"] else code
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _hush_elastic()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=job.plan.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        rdzv_configs={"is_host": True},
        local_addr="localhost",
        max_restarts=0,
        start_method=start,
    )
    folder = RunFolder(job.folder)
    try:
        codes: dict[int, int] = elastic_launch(config, rank_main)(job)
        return max(codes.values())
    except SignalException as stop:
        return 128 + stop.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if folder.status()[0] != "failed":
            folder.set_status("failed", f"rank {rank} ended with exit code {failure.exitcode}")
        refuse(f"{job.folder.name} failed: {folder.status()[1]}")
        return CODES["failed"]


def rank_main(job: Job) -> int:
    """One rank of our own agent."""
    os.setsid()  # the terminal's Ctrl-C goes to the agent alone, which tells every rank once
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
    code = work(job)
    if code >= 128:
        os._exit(code)  # the agent is ending, and would wait for a rank that returns
    if code == CODES["failed"]:
        sys.exit(code)  # so that the agent ends the other ranks
    return code


def work(job: Job) -> int:
    """What one process does for the job; returns its exit code."""
    import torch

    from prsgd.train import train

    keep_freed_memory()
    torch.set_num_threads(job.plan.threads)
    with Stop() as stop:
        try:
            status = train(job, stop)
        except Exception as error:
            if stop():
                return 128 + signal_of(stop())
            return _failed(job, error)
    return 128 + signal_of(stop()) if status == "interrupted" else CODES[status]


def _failed(job: Job, error: Exception) -> int:
    folder = RunFolder(job.folder)
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    if folder.status()[0] != "failed":
        folder.set_status("failed", why)
        if not isinstance(error, Refused):
            traceback.print_exc()
    if job.plan.start == "here":
        refuse(f"{job.folder.name} failed: {why}")
    return CODES["failed"]


def _hush_elastic() -> None:
    """We report the end of our ranks ourselves."""
    import logging

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
