"""Modules of a user's own are tried before anything is written or started."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable
from multiprocessing.connection import Connection

from prsgd.config.plan import Plan
from prsgd.config.registry import PATHS, called
from prsgd.config.schema import Run
from prsgd.errors import UserError
from prsgd.launch.process import prepare_torch


def check_models(planned: Iterable[tuple[Run, Plan]]) -> None:
    """Refuse modules that rows cannot train; each is tried once. prsgd's own are known to fit."""
    tried = set[tuple[str, ...]]()
    for run, plan in planned:
        name = called("model", type(run.model))
        alike = str(run.model), str(run.data), str(run.batch_size), plan.precision
        if name in PATHS["model"] or alike in tried:
            continue
        tried.add(alike)
        if found := _try_apart(run, plan) if plan.start == "fork" else _try_here(run, plan):
            raise UserError(f"model._target_={name}: {found}")


def _try_here(run: Run, plan: Plan) -> str:
    prepare_torch(plan)
    from prsgd.training.trial import try_model

    return try_model(run, plan.precision == "bf16")


def _try_apart(run: Run, plan: Plan) -> str:
    """Try it in a process of its own: this one may compute nothing before it forks ranks."""
    context = multiprocessing.get_context("fork")
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, run, plan), daemon=True)
    process.start()
    theirs.close()
    try:
        found: str = answer.recv()
    except EOFError:
        process.join()
        return f"the process that tried it ended with exit code {process.exitcode}"
    process.join()
    return found


def _answer(theirs: Connection, run: Run, plan: Plan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    theirs.send(_try_here(run, plan))
