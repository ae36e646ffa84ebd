"""The seconds of a step and of an all-reduce, measured here with the processes of a real run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prsgd.config.plan import Plan
from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.meeting import Meeting
from prsgd.tasks.base import Draws, Nest, stacked
from prsgd.training.device import device_settings
from prsgd.training.setup import build_workers

WARM, LAPS = 3, 12


@dataclass(frozen=True)
class Measured:
    """Medians in seconds; those of the all-reduces are of the last process to arrive."""

    step: float  # a step of all the workers of a process, while all processes compute
    empty: float  # an all-reduce of two numbers
    full: float  # an all-reduce of the model


class Repeated(Draws):
    """One batch, made up, again and again."""

    def __init__(self, run: Run, device: torch.device) -> None:
        self.task = run.task
        self.example = run.task.example(run.data, run.batch_size, device)

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Nest:
        return stacked(self.example, len(workers))

    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        return self.task.loss(model, batch)


def measure(run: Run, plan: Plan, meeting: Meeting | None = None) -> Measured:
    """Measure, as one of the processes; all return the same numbers."""
    with device_settings(plan, run.reduction):
        return _measured(run, plan, meeting)


def _measured(run: Run, plan: Plan, meeting: Meeting | None) -> Measured:
    communicator = Communicator(
        run.workers, plan.device, run.reduction, plan.processes, run.timeout, meeting
    )
    example = Repeated(run, communicator.device)
    workers = build_workers(run, example, communicator, plan.precision == "bf16")
    exact = run.reduction == "exact"
    row = workers.g[0].to(torch.int64 if exact else torch.float32, copy=True)
    payload = torch.zeros(2, device=communicator.device), row
    laps = torch.zeros(3, WARM + LAPS, dtype=torch.float64)
    for lap in range(WARM + LAPS):
        start = communicator.clock()
        workers.compute_gradients()
        workers.optimizer_step(1e-6)
        laps[0, lap] = communicator.clock() - start
        for kind, buffer in enumerate(payload, 1):
            if communicator.processes > 1:
                communicator.barrier()
                start = communicator.clock()
                dist.all_reduce(buffer)
                laps[kind, lap] = communicator.clock() - start
    everyone = torch.zeros(communicator.processes, *laps.shape, dtype=torch.float64)
    everyone[communicator.rank] = laps
    everyone = communicator.all_reduce_sum(everyone)[..., WARM:]
    communicator.close()
    step = float(everyone[:, 0].max(0).values.median())  # a round waits for the slowest process
    empty, full = everyone[:, 1:].min(0).values.median(1).values.tolist()
    return Measured(step, empty, full)
