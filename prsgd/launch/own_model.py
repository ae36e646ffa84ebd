"""Modules of a user's own are tried before anything is written or started."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable
from multiprocessing.connection import Connection

from prsgd.config.plan import Plan
from prsgd.config.registry import tried
from prsgd.config.schema import Run
from prsgd.cost import estimate
from prsgd.distributed.fragments import cut
from prsgd.errors import UserError
from prsgd.launch.process import prepare_torch


def parameter_sizes(planned: Iterable[tuple[Run, Plan]]) -> list[list[int]]:
    """The numbers of each parameter of each run, D together.

    A module that rows cannot train is a UserError, and so are more fragments than parameters.
    Those of a user's own are tried, once each, as frozen and unused parameters do not count. So are
    those that start at a file.
    """
    found, known = list[list[int]](), dict[tuple[str, ...], list[int]]()
    for run, plan in planned:
        parts = run.model, run.task, run.data, run.batch_size, plan.precision, run.start
        alike = tuple(map(str, parts))
        if alike not in known:
            own = tried(run) or run.start != "auto"
            known[alike] = _tried(run, plan) if own else estimate.sizes(run)
        if run.fragments > 1:
            cut(known[alike], run.fragments)  # raises the UserError that there are too few
        found.append(known[alike])
    return found


def _tried(run: Run, plan: Plan) -> list[int]:
    """Those of a module of the user's own, which is tried."""
    found = _try_apart(run, plan) if plan.start == "fork" else _try_here(run, plan)
    if isinstance(found, str):
        raise UserError(found)
    return found


def _try_here(run: Run, plan: Plan) -> list[int] | str:
    """Its sizes, or why rows cannot train the module."""
    prepare_torch(plan)
    from prsgd.training.module import build_module

    try:
        bf16 = plan.precision == "bf16"
        return build_module(run, bf16).sizes
    except UserError as error:
        return str(error)


def _try_apart(run: Run, plan: Plan) -> list[int] | str:
    """Try it in a process of its own: this one may compute nothing before it forks ranks."""
    context = multiprocessing.get_context("fork")
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, run, plan), daemon=True)
    process.start()
    theirs.close()
    try:
        found: list[int] | str = answer.recv()
    except EOFError:
        process.join()
        code = process.exitcode
        origin = tried(run) or run.model.origin
        return f"{origin}: the process that tried it ended with exit code {code}"
    process.join()
    return found


def _answer(theirs: Connection, run: Run, plan: Plan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    theirs.send(_try_here(run, plan))
