"""Training in this process, which stays as it was but for what the run leaves in its folder."""

from __future__ import annotations

import signal
from contextlib import nullcontext

from prsgd.config.plan import Job
from prsgd.errors import RunFailed, UserError, why
from prsgd.launch.process import prepare_torch
from prsgd.launch.runs import owned
from prsgd.launch.torchrun import torchrun_rank
from prsgd.training.interrupt import Interrupt, signal_of


class _Interrupt(Interrupt):
    """A second Ctrl-C ends the run, and not the program that it is a part of."""

    def _end_at_once(self) -> None:
        raise KeyboardInterrupt


def train_here(job: Job) -> None:
    """Train to the end; what stops it before is raised.

    A signal that came meanwhile goes on to the program, once the run has its checkpoint.
    """
    from prsgd.training.loop import train

    interrupt = _Interrupt()
    try:
        with interrupt, nullcontext() if torchrun_rank() else owned(job):
            prepare_torch(job.plan)
            train(job, interrupt)
    except UserError:
        raise
    except Exception as error:
        raise RunFailed(f"{job.folder.name} failed: {why(error)}") from error
    finally:
        if weight := interrupt():
            signal.raise_signal(signal_of(weight))
            raise KeyboardInterrupt
