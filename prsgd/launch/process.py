"""What one process does for a job."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from prsgd.config.plan import Job, Plan
from prsgd.console import print_error
from prsgd.errors import LOST
from prsgd.launch.memory import keep_freed_memory
from prsgd.run_folder import RunFolder
from prsgd.training.interrupt import Interrupt

if TYPE_CHECKING:
    from prsgd.distributed.meeting import Meeting

CODES = {"done": 0, "diverged": 3, "failed": 1}  # exit codes by status


def work(job: Job, interrupt: Interrupt, meeting: Meeting | None = None) -> int:
    """Train, and return the exit code."""
    with interrupt:
        prepare_torch(job.plan)
        from prsgd.training.loop import train

        try:
            outcome = train(job, interrupt, meeting)
        except Exception:
            if not job.plan.has_agent:
                print_failure(RunFolder(job.folder))
            if job.plan.device == "cuda" and job.plan.processes > 1:
                sys.stdout.flush()
                os._exit(CODES["failed"])  # NCCL may wait for a collective that never ends
            return CODES["failed"]
    return 128 + outcome.signal if outcome.signal else CODES[outcome.status]


def prepare_torch(plan: Plan) -> None:
    """Settings of torch and of the C library that hold for the whole process."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(plan.threads)


def print_failure(folder: RunFolder) -> None:
    """The line that says why a run failed, if that could be written down."""
    status, why = folder.status()
    if status == "failed":
        print_error(f"{folder.path.name} failed: {why}")


def gave_up(folder: RunFolder) -> bool:
    """Whether these ranks are started again after an error that would only come back."""
    status, why = folder.status()
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return again and status == "failed" and not why.startswith(LOST)
