"""All workers that a process hosts, made from a run."""

from __future__ import annotations

from dataclasses import replace

from prsgd.config.plan import strategy
from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.compression import Lossy
from prsgd.tasks.base import Draws
from prsgd.training.generators import ForwardDraws
from prsgd.training.module import build_module, watch_unused
from prsgd.training.workers import RowWorkers


def build_workers(run: Run, task: Draws, communicator: Communicator, bf16: bool) -> RowWorkers:
    """The hosted workers, all at the same x, which the seed or a file decides."""
    model, draws, unused = build_module(run, bf16)
    forward_draws = ForwardDraws(run.seed, communicator.device) if draws else None
    keeps_frozen = run.start_sha256 != "auto"
    run = replace(run, gradients=strategy(run, communicator.device.type))
    workers = RowWorkers(model, communicator, task, run, bf16, forward_draws, keeps_frozen)
    if isinstance(run.compression, Lossy):
        workers.compress(run.compression, run.seed)
    for own in workers.models:
        watch_unused(own, unused)
    return workers
