"""Measure a step and an all-reduce with the processes that a run would have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prsgd.config.plan import Plan
from prsgd.config.schema import Run
from prsgd.errors import UserError, why
from prsgd.launch.elastic import cannot_start, follow_agent, start_ranks
from prsgd.launch.process import prepare_torch

if TYPE_CHECKING:
    from prsgd.distributed.meeting import Meeting
    from prsgd.training.calibrate import Measured


def calibrate(run: Run, plan: Plan) -> Measured:
    """What a step and an all-reduce of `run` take here."""
    if not plan.has_agent:
        return measure_here(run, plan)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        return start_ranks(plan, measuring_rank, run, plan)[0]
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        told = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        told = told.removeprefix("UserError: ")
        raise UserError(f"--calibrate: rank {rank} ended: {told}") from error
    except OSError as error:
        raise UserError(f"--calibrate: {cannot_start(error)}") from error


def measuring_rank(meeting: Meeting, run: Run, plan: Plan) -> Measured:
    """One rank's part in it; torch elastic tells the agent the error."""
    follow_agent()
    try:
        return measure_here(run, plan, meeting)
    except Exception as error:
        raise UserError(why(error)) from error


def measure_here(run: Run, plan: Plan, meeting: Meeting | None = None) -> Measured:
    """One process's part in it."""
    prepare_torch(plan)
    from prsgd.training.calibrate import measure

    return measure(run, plan, meeting)
