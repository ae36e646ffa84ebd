"""How a run is started: right here, as ranks of our own agent, or as a rank of somebody else's.

The agent is torch elastic's, in this very process. On a Linux CPU its ranks are forked from it,
after it has imported torch and computed nothing, so that no rank imports anything twice.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prsgd.config import Run
from prsgd.console import refuse
from prsgd.errors import LOST, Refused
from prsgd.memory import keep_freed_memory
from prsgd.plan import Job, Machine, Plan, decide
from prsgd.records import RunFolder
from prsgd.stop import WEIGHTS, Stop, signal_of

if TYPE_CHECKING:
    from prsgd.calibrate import Measured

T = TypeVar("T")
CODES = {"done": 0, "diverged": 3, "failed": 1}


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
    if job.plan.start in ("here", "join"):
        return work(job, Stop())
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    folder, stop = RunFolder(job.folder), Stop()
    try:
        with stop:
            codes = start_ranks(
                job.plan, rank_main, job, stop, restarts=job.run.restarts, ours=True
            )
        code = max(codes.values())
    except SignalException as signalled:
        return 128 + signalled.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = end_of(folder, stop(), f"rank {rank} ended with exit code {failure.exitcode}")
    if code == CODES["failed"]:
        refuse(f"{job.folder.name} failed: {folder.status()[1]}")
    if stop():  # even if the run ended first: a sweep shall not go on
        return 128 + signal_of(stop())
    return code


def end_of(folder: RunFolder, stopping: int, failure: str) -> int:
    """The exit code where a rank did not return; puts down how the run ended if none did."""
    status, why = folder.status()
    if status == "running" and stopping:
        status, why = "interrupted", signal_of(stopping).name
        folder.set_status(status, why)
    if status == "interrupted":
        return 128 + signal.Signals[why.split()[0]]
    if status not in CODES:
        folder.set_status("failed", failure)
    return CODES.get(status, CODES["failed"])


def start_ranks(
    plan: Plan, function: Callable[..., T], *arguments: Any, restarts: int = 0, ours: bool = False
) -> dict[int, T]:
    """Call `function` in every rank of an agent of our own; what each of them returns.

    Where a rank ends otherwise, all are started again, up to `restarts` times. Signals are ours,
    or else raise torch's SignalException.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _hush_elastic()
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # a checkpoint may take a while
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # which keeps addresses of dead ranks
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=plan.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        rdzv_configs={"is_host": True},
        local_addr="localhost",
        max_restarts=restarts,
        start_method=plan.start,
    )
    if ours and agent_can_leave_signals():
        config.signals_to_handle = "SIGQUIT"
    found: dict[int, T] = elastic_launch(config, function)(*arguments)
    return found


def agent_can_leave_signals() -> bool:
    """Whether this torch's agent can be told to; an older one sends its ranks SIGTERM."""
    from torch.distributed.launcher.api import LaunchConfig

    return "signals_to_handle" in LaunchConfig.__dataclass_fields__


def calibrate(run: Run, plan: Plan) -> Measured:
    """Measure a step and an all-reduce with the processes that `run` would have."""
    if plan.start in ("here", "join"):
        return measure_here(run, plan)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        return start_ranks(plan, measuring_rank, run, plan)[0]
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        why = f"rank {rank} ended with exit code {failure.exitcode}"
        raise Refused(f"--calibrate: {why}") from error


def measuring_rank(run: Run, plan: Plan) -> Measured:
    """One rank of our own agent, for `calibrate`."""
    _follow_agent()
    return measure_here(run, plan)


def measure_here(run: Run, plan: Plan) -> Measured:
    """What one process does for it."""
    _prepare_torch(plan)
    from prsgd.calibrate import measure

    return measure(run, plan)


def rank_main(job: Job, stop: Stop) -> int:
    """One rank of our own agent."""
    _follow_agent()
    if gave_up(RunFolder(job.folder)):
        return CODES["failed"]
    code = work(job, stop)
    if orphaned() or (code >= 128 and not agent_can_leave_signals()):
        os._exit(code)  # nobody takes what would be returned
    if code == CODES["failed"]:
        sys.exit(code)  # so that the agent ends the other ranks
    return code


def gave_up(folder: RunFolder) -> bool:
    """Whether these ranks are started again after an error that would only come back."""
    status, why = folder.status()
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return again and status == "failed" and not why.startswith(LOST)


def work(job: Job, stop: Stop) -> int:
    """What one process does for the job; returns its exit code."""
    with stop:
        _prepare_torch(job.plan)
        from prsgd.train import train

        try:
            outcome = train(job, stop)
        except Exception:
            if job.plan.start in ("here", "join"):
                refuse(f"{job.folder.name} failed: {RunFolder(job.folder).status()[1]}")
            return CODES["failed"]
    return 128 + outcome.signal if outcome.signal else CODES[outcome.status]


def _follow_agent() -> None:
    """The terminal's Ctrl-C goes to the agent alone, which tells every rank and outlives them."""
    os.setsid()
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
    for number in WEIGHTS:
        signal.signal(number, signal.SIG_DFL)
    if orphaned():
        os._exit(CODES["failed"])


def orphaned() -> bool:
    """Whether the agent that started this rank is gone."""
    agent = multiprocessing.parent_process()
    return agent is not None and os.getppid() != agent.pid


def _prepare_torch(plan: Plan) -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler has nothing to say to a user
    import torch

    keep_freed_memory()
    torch.set_num_threads(plan.threads)


def _hush_elastic() -> None:
    """We report the end of our ranks ourselves."""
    import logging

    for name in list(logging.root.manager.loggerDict):  # each may have a level of its own
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
