"""What the keys of a run say against each other, one line each."""

from __future__ import annotations

from collections.abc import Iterator

from prsgd.algorithms.streamed import IN_PARTS, OF_SOME, PLAIN
from prsgd.config.registry import PATHS, called, tried
from prsgd.config.schema import Run
from prsgd.distributed.compression import KINDS, Lossy


def contradictions(run: Run) -> Iterator[str]:
    """What keys say against each other."""
    if run.processes != "auto" and run.processes > run.workers:
        yield (
            f"processes={run.processes}: must be auto or at most workers={run.workers}: "
            "a process hosts one worker or more"
        )
    if run.start == "auto" and run.start_sha256 != "auto":
        yield f"start_sha256={run.start_sha256}: needs start"
    if run.nesterov and not run.momentum:
        yield "nesterov=true: needs momentum above 0"
    if run.optimiser == "adamw" and run.momentum:
        yield f"momentum={run.momentum}: must be 0 with optimiser=adamw; it has its betas"
    if run.algorithm.needs_plain_sgd and run.moments:
        yield (
            f"algorithm={run.algorithm.name}: corrects steps of plain SGD; it needs optimiser=sgd "
            "and momentum=0"
        )
    if run.speeds and len(run.speeds) != run.workers:
        yield (
            f"speeds={run.speeds}: must be empty or a number for each of the {run.workers} workers"
        )
    yield from _special_rounds(run)
    yield from _moments_in_special_rounds(run)
    yield from _misfits(run)
    if run.batch_size % run.accumulate:
        yield f"accumulate={run.accumulate}: must divide batch_size={run.batch_size}"
    if run.gradients == "graph" and tried(run):
        yield (
            "gradients=graph: records what prsgd's own models and losses do; with others it must "
            "be auto or loop"
        )
    if problem := run.algorithm.check(run.workers):
        yield f"algorithm={run.algorithm.name}: {problem}"


def _special_rounds(run: Run) -> Iterator[str]:
    """What methods cannot have of rounds in fragments, late, or of some workers."""
    name = called("algorithm", type(run.algorithm))
    for key, plain in PLAIN.items():
        asked, own = getattr(run, key), getattr(run.algorithm, key, plain)
        if asked != own:
            yield (
                f"{key}={asked}: must be {own} with algorithm={name}"
                if key in vars(run.algorithm)
                else f"{key}={asked}: algorithm={name} is not made of rounds that have {key}"
            )
    if run.local_steps and not hasattr(run.algorithm, "local_steps"):
        yield f"local_steps={run.local_steps}: needs algorithm=prsgd_heterogeneous, not {name}"
    some = [key for key, plain in OF_SOME.items() if getattr(run, key) != plain]
    parts = [key for key, plain in IN_PARTS.items() if getattr(run, key) != plain]
    if len(some) == 2 or (some and parts):
        key, other = (*some, *parts)[:2]
        asked, with_what = getattr(run, key), f"{other}={getattr(run, other)}"
        yield f"{key}={asked}: must be left out with {with_what}"


def _moments_in_special_rounds(run: Run) -> Iterator[str]:
    """What such rounds cannot do with the moments of an optimiser."""
    at_sync = getattr(run.algorithm, "momentum_at_sync", "keep")
    if run.delay and run.moments and at_sync != "keep":
        yield (
            f"momentum_at_sync={at_sync}: must be keep with delay={run.delay}; moments that arrive "
            "late would undo steps"
        )
    if run.fragments > 1 and run.optimiser == "adamw" and at_sync == "reset":
        yield (
            f"momentum_at_sync=reset: must be keep or average with fragments={run.fragments} and "
            "optimiser=adamw, which counts its steps for all parameters together"
        )
    if run.participation < 1 and run.optimiser == "adamw" and at_sync == "average":
        yield (
            "momentum_at_sync=average: must be keep or reset with optimiser=adamw and "
            f"participation={run.participation}, as its steps are counted for each worker"
        )


def _misfits(run: Run) -> Iterator[str]:
    """What the choices of groups say against each other."""
    task, data = called("task", type(run.task)), called("data", type(run.data))
    if task not in run.data.tasks and task in PATHS["task"]:
        serves = f"task={', '.join(run.data.tasks)}" if run.data.tasks else "tasks of its own"
        yield f"data={data}: serves {serves}, not task={task}"
    if not isinstance(run.data, run.task.learns_from):
        yield f"data={data}: is no {run.task.learns_from.__name__}, from which task={task} learns"
    for group, problem in (("data", run.data.check()), ("model", run.model.check())):
        if problem:
            yield f"{group}.{problem}"
    if not isinstance(run.compression, KINDS):
        kinds = ", ".join(kind.__name__ for kind in KINDS)
        yield f"compression: {type(run.compression).__name__} must be a subclass of one of {kinds}"
    if isinstance(run.compression, Lossy):
        yield from _coded_messages(run, run.compression)


def _coded_messages(run: Run, coded: Lossy) -> Iterator[str]:
    """What messages that lose something need of the other keys."""
    if coded.residual_decay < 1 and not coded.error_feedback:
        decay = f"compression.residual_decay={coded.residual_decay}"
        yield f"{decay}: needs compression.error_feedback=true"
    keeping = {
        f"algorithm={run.algorithm.name}": not run.algorithm.restarts,
        f"merge={run.merge}": run.merge not in (0, "progress"),
    }
    for key, keeps in keeping.items():
        if coded.error_feedback and keeps:
            yield (
                f"compression.error_feedback=true: must be false with {key}, as a worker's model "
                "keeps what was not sent, and it would be sent twice"
            )
    if not run.algorithm.has_reference:
        yield (
            f"compression={called('compression', type(coded))}: must be none with "
            f"algorithm={run.algorithm.name}, whose groups have no point that all workers know"
        )
