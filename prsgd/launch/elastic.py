"""Processes as ranks of an agent of our own: torch elastic's, in this very process.

On a Linux CPU the ranks are forked. The agent has imported torch by then and computed nothing with
it, so a rank need not import anything again.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from prsgd.config.plan import Job, Plan
from prsgd.files import scratch_folder
from prsgd.launch.process import CODES, gave_up, work
from prsgd.run_folder import RunFolder
from prsgd.training.interrupt import SIGNAL_WEIGHTS, Interrupt

if TYPE_CHECKING:
    from prsgd.distributed.meeting import Meeting

T = TypeVar("T")


def start_ranks(
    plan: Plan, function: Callable[..., T], *arguments: Any, restarts: int = 0, ours: bool = False
) -> dict[int, T]:
    """Call `function` in every rank, with where they meet; returns what each rank returned.

    When a rank ends in another way, all are started again, up to `restarts` times. With `ours` the
    caller handles signals; without it they raise torch's SignalException.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from prsgd.distributed.meeting import Meeting

    _silence_elastic()
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # seconds for a last checkpoint
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # it keeps addresses of dead ranks
    with scratch_folder() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=plan.processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=str(folder / "agent"),
            rdzv_configs={"store_type": "file"},  # a store that listens would run what it is sent
            local_addr="localhost",
            max_restarts=restarts,
            start_method=plan.start,
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
        )
        if ours and agent_can_leave_signals():
            config.signals_to_handle = "SIGQUIT"
        meeting = Meeting.of(plan.processes, folder)
        found: dict[int, T] = elastic_launch(config, function)(meeting, *arguments)
        return found


def cannot_start(error: OSError) -> str:
    """Why there are no ranks: pipes, semaphores and shared memory are needed to start them."""
    return (
        f"its processes cannot be started ({error}); look at /dev/shm and ulimit -n, or train with "
        "processes=1"
    )


def agent_can_leave_signals() -> bool:
    """Whether torch's agent can be told to ignore signals; an older one sends its ranks SIGTERM."""
    from torch.distributed.launcher.api import LaunchConfig

    return "signals_to_handle" in LaunchConfig.__dataclass_fields__


def rank_main(meeting: Meeting, job: Job, interrupt: Interrupt) -> int:
    """One rank's work for a job; returns its exit code."""
    follow_agent()
    if gave_up(RunFolder(job.folder)):
        return CODES["failed"]
    code = work(job, interrupt, meeting)
    if _orphaned() or (code >= 128 and not agent_can_leave_signals()):
        os._exit(code)  # the agent would not take a returned value
    if code == CODES["failed"]:
        sys.exit(code)  # the agent then ends the other ranks
    return code


def follow_agent() -> None:
    """Leave the terminal's Ctrl-C to the agent, which tells every rank, and end when it ends."""
    os.setsid()
    end_with_parent()
    for number in SIGNAL_WEIGHTS:
        signal.signal(number, signal.SIG_DFL)
    if _orphaned():
        os._exit(CODES["failed"])


def end_with_parent() -> None:
    """Be sent SIGTERM when the process that started this one ends."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _orphaned() -> bool:
    """Whether the agent that started this rank is gone."""
    agent = multiprocessing.parent_process()
    return agent is not None and os.getppid() != agent.pid


def _silence_elastic() -> None:
    """Turn off the agent's own log: prsgd reports how its ranks end."""
    import logging

    for name in list(logging.root.manager.loggerDict):  # a logger may have its own level
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
