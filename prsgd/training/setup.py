"""All workers that a process hosts, made from a run."""

from __future__ import annotations

import torch

from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.rng import Purpose, generator
from prsgd.tasks.base import Bound
from prsgd.training.generators import generators_restored
from prsgd.training.workers import RowWorkers


def build_workers(run: Run, task: Bound, communicator: Communicator, bf16: bool) -> RowWorkers:
    """The hosted workers, all at the same x, which is a function of the seed."""
    with generators_restored(int(generator(Purpose.MODEL, run.seed).integers(1 << 31))):
        model = run.build_model()
    if communicator.device.type == "cuda" and not bf16:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return RowWorkers(model, communicator, task, run, bf16)
