"""What a run will cost, before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import RunInfo
from prsgd.config.plan import STREAMS, Plan, strategy
from prsgd.config.schema import Run
from prsgd.cost.counter import CommCounter
from prsgd.distributed.placement import placement
from prsgd.distributed.wire import BYTES_PER_NUMBER

if TYPE_CHECKING:
    from torch import Tensor

FLOAT32 = 4  # bytes
GRADIENTS = 5  # how many are measured; the median counts


class Gradient(NamedTuple):
    """What a worker's gradient takes here."""

    seconds: float
    activations: int  # bytes that the forward pass keeps for the backward pass


def sizes(run: Run) -> list[int]:
    """The numbers of each parameter of a module of prsgd's, D together.

    Nothing is computed, as processes may be forked later. Of a module of a user's own only its
    trial knows them: this counts what `build` leaves trainable.
    """
    import torch
    from torch.nn.parameter import is_lazy

    from prsgd.models.unfilled import Unfilled

    try:
        with torch.device("meta"), Unfilled():
            model = run.build_model()
    except Exception:  # the meta device has no numbers
        torch.set_num_threads(1)  # and so no threads that a fork would lose
        model = run.build_model()
    own = [p for p in model.parameters() if p.requires_grad]
    return [p.numel() for p in own if not is_lazy(p)]


def memory(run: Run, sizes: Sequence[int]) -> int:
    """Bytes of the N rows of models, gradients and moments; activations are left out."""
    return FLOAT32 * run.workers * (2 + run.moments) * sum(sizes)


def process_memory(run: Run, plan: Plan, sizes: Sequence[int], gradient: Gradient) -> int:
    """Bytes of the process that hosts the most workers: their rows, and activations.

    A GPU that replays graphs keeps those of several gradients at the same time.
    """
    hosted = max(map(len, placement(run.workers, plan.processes)))
    at_once = min(STREAMS, hosted) if strategy(run, plan.device) == "graph" else 1
    return memory(run, sizes) * hosted // run.workers + at_once * gradient.activations


def communication(run: Run, samples: int, sizes: Sequence[int]) -> CommCounter:
    """All that the run will send: its algorithm runs on workers that only count.

    `sizes` are the numbers of each parameter.
    """

    def bytes_of(numbers: int) -> int:
        size = run.compression.message_bytes(numbers)
        scale = BYTES_PER_NUMBER[run.reduction] if run.compression.is_summed else FLOAT32
        return size * scale // FLOAT32

    def bytes_in_groups(numbers: int) -> int:
        return BYTES_PER_NUMBER[run.reduction] * numbers

    counted = CommCounter(sizes, run.workers, run.moments, bytes_of, bytes_in_groups)
    counted.run(run.algorithm, run.info(samples))
    return counted


def seconds(run: Run, plan: Plan, info: RunInfo, gradient: Gradient) -> float:
    """Seconds of training; communication is left out."""
    draws = _draws_of_each(run.algorithm, info)
    hosted = placement(run.workers, plan.processes)
    busiest = max(sum(draws[worker] for worker in workers) for workers in hosted)
    return busiest * gradient.seconds


def gradient(run: Run, plan: Plan, measured: dict[str, Gradient]) -> Gradient:
    """What one takes. `measured` keeps it, as the runs of a sweep often have the same."""
    alike = run.model, run.data, run.task, run.batch_size, run.accumulate
    key = repr((*alike, plan.threads, plan.device, plan.precision))
    if key not in measured:
        measured[key] = _measured(run, plan)
    return measured[key]


def _measured(run: Run, plan: Plan) -> Gradient:
    """The median of the seconds of a few."""
    import torch

    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    bf16 = plan.precision == "bf16"
    batch = run.task.example(run.data, run.batch_size, device)
    model = run.build_model().to(device)
    kept: dict[int, int] = {}  # bytes by address

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def one() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return run.task.loss(model, batch)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = one()  # lazy parameters get their shapes
    for p in model.parameters():
        kept.pop(p.untyped_storage().data_ptr(), None)
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    activations = sum(kept.values()) // run.accumulate
    laps = []
    for _ in range(GRADIENTS):
        start = time.perf_counter()
        loss = one()
        torch.autograd.backward(loss)
        loss.item()
        laps.append(time.perf_counter() - start)
    return Gradient(sorted(laps)[GRADIENTS // 2], activations)


def _draws_of_each(algorithm: Algorithm, info: RunInfo) -> list[int]:
    """The batches that each worker draws in T steps."""
    draws = [0] * info.workers
    for t in range(1, info.steps + 1):
        active = algorithm.active(t, info)
        for worker in range(info.workers) if active is None else active:
            draws[worker] += 1
    return draws
