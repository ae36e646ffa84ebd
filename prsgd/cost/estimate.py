"""What a run will cost, before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import RunInfo
from prsgd.config.plan import Plan
from prsgd.config.schema import Run
from prsgd.cost.counter import CommCounter
from prsgd.distributed.placement import placement
from prsgd.distributed.wire import BYTES_PER_NUMBER

FLOAT32 = 4  # bytes
GRADIENTS = 5  # how many are measured; the median counts


def sizes(run: Run) -> list[int]:
    """The numbers of each parameter of a module of prsgd's, D together.

    Nothing is computed, as processes may be forked later. Of a module of a user's own only its
    trial knows them: this counts what `build` leaves trainable.
    """
    import torch
    from torch.nn.parameter import is_lazy

    try:
        with torch.device("meta"):
            model = run.build_model()
    except Exception:  # the meta device has no numbers
        torch.set_num_threads(1)  # and so no threads that a fork would lose
        model = run.build_model()
    own = [p for p in model.parameters() if p.requires_grad]
    return [p.numel() for p in own if not is_lazy(p)]


def memory(run: Run, sizes: Sequence[int]) -> int:
    """Bytes of the N rows of models, gradients and moments; activations are left out."""
    return FLOAT32 * run.workers * (2 + run.moments) * sum(sizes)


def communication(run: Run, samples: int, sizes: Sequence[int]) -> CommCounter:
    """All that the run will send: its algorithm runs on workers that only count.

    `sizes` are the numbers of each parameter.
    """

    def bytes_of(numbers: int) -> int:
        size = run.compression.message_bytes(numbers)
        scale = BYTES_PER_NUMBER[run.reduction] if run.compression.is_summed else FLOAT32
        return size * scale // FLOAT32

    counted = CommCounter(sizes, run.workers, run.moments, bytes_of)
    counted.run(run.algorithm, run.info(samples))
    return counted


def seconds(run: Run, plan: Plan, info: RunInfo, measured: dict[str, float]) -> float:
    """Seconds of training, from a few gradients measured here; communication is left out.

    `measured` keeps what a gradient takes, as the runs of a sweep often have the same.
    """
    alike = run.model, run.data, run.task, run.batch_size, plan.threads, plan.device, plan.precision
    if (key := repr(alike)) not in measured:
        measured[key] = _gradient_seconds(run, plan)
    draws = _draws_of_each(run.algorithm, info)
    hosted = placement(run.workers, plan.processes)
    busiest = max(sum(draws[worker] for worker in workers) for workers in hosted)
    return busiest * measured[key]


def _gradient_seconds(run: Run, plan: Plan) -> float:
    """The median of a few."""
    import torch

    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    bf16 = plan.precision == "bf16"
    batch = run.task.example(run.data, run.batch_size, device)
    model = run.build_model().to(device)
    run.task.loss(model, batch)  # lazy parameters get their shapes
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    laps = []
    for _ in range(GRADIENTS):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = run.task.loss(model, batch)
        torch.autograd.backward(loss)
        loss.item()
        laps.append(time.perf_counter() - start)
    return sorted(laps)[GRADIENTS // 2]


def _draws_of_each(algorithm: Algorithm, info: RunInfo) -> list[int]:
    """The batches that each worker draws in T steps."""
    draws = [0] * info.workers
    for t in range(1, info.steps + 1):
        active = algorithm.active(t, info)
        for worker in range(info.workers) if active is None else active:
            draws[worker] += 1
    return draws
