"""The processes: who hosts which workers, what they send each other, and the ledger of it.

Two kinds of traffic are kept apart. What the algorithm sends, the mean over all workers, goes
through `mean`, over NCCL on GPUs, and is charged to the ledger. Everything else (evaluation,
agreement, records) goes through `add` and `share`, always over gloo, and is charged to nobody.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from prsgd.reduction import Reduction, exact_mean, fast_mean


def placement(workers: int, processes: int) -> list[range]:
    """The workers that each process hosts: contiguous, as even as can be."""
    bounds = [workers * rank // processes for rank in range(processes + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]


def wire_bytes(payload: int, workers: int) -> int:
    """What a ring all-reduce of `payload` bytes makes each of N workers send: 2 (N-1)/N of it."""
    return 2 * (workers - 1) * payload // workers


@dataclass
class Round:
    """One averaging, as this process saw it."""

    step: int
    payload_bytes: int
    seconds: float  # in the all-reduce, waiting for others included
    drifts: Tensor | None = None  # (K,), |x_i - mean|^2 before it; None for gradients
    local_steps: list[int] = field(default_factory=list)  # of all N workers since the one before


@dataclass
class Ledger:
    """What the algorithm has communicated so far; the same numbers on every process."""

    rounds: int = 0
    payload_bytes: int = 0
    comm_seconds: float = 0.0  # of the last process to arrive in each round: it waits for nobody
    wait_seconds: float = 0.0  # of the others, mean over processes
    open: list[Round] = field(default_factory=list)  # not yet settled between the processes

    @property
    def count(self) -> int:
        """Rounds so far, settled or not."""
        return self.rounds + len(self.open)


class Cluster:
    """This process and its peers.

    `said` are two numbers (mean loss, stop signal) that travel with every averaging and every
    agreement; `heard` is what all processes said, summed, or None since it was last looked at.
    """

    def __init__(self, workers: int, device: str, reduction: str, processes: int = 1) -> None:
        self.workers = workers
        self.processes = processes
        self.rank = int(os.environ["RANK"]) if processes > 1 else 0
        self.hosted = placement(workers, self.processes)[self.rank]
        self.reduction = Reduction(reduction)
        self.ledger = Ledger()
        self.control: dist.ProcessGroup | None = None
        if device == "cuda":
            local = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
            self.device = torch.device("cuda", local)
            torch.cuda.set_device(self.device)
        else:
            self.device = torch.device("cpu")
        if self.processes > 1:
            backend = "nccl" if device == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(minutes=30))
            self.control = dist.new_group(backend="gloo")  # type: ignore[assignment]
        self.said = torch.zeros(2, device=self.device)
        self.heard: Tensor | None = None
        self._buffers: dict[int, Tensor] = {}

    @property
    def first(self) -> bool:
        """Whether this process writes the records."""
        return self.rank == 0

    def close(self) -> None:
        if self.processes > 1:
            dist.destroy_process_group()

    def clock(self) -> float:
        """Seconds, once all work queued so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    # what the algorithm sends -------------------------------------------------------------------

    def mean(self, step: int, parts: list[Tensor]) -> list[Tensor]:
        """The mean over all N workers of each of the (K, D) `parts`: one round, charged."""
        means, seconds = self._mean(parts)
        payload = sum(m.numel() * m.element_size() for m in means)
        self.ledger.open.append(Round(step, payload, seconds))
        return means

    def uncharged_mean(self, part: Tensor) -> Tensor:
        """The same for looking at x̄: not part of the algorithm."""
        return self._mean([part])[0][0].clone()

    def _mean(self, parts: list[Tensor]) -> tuple[list[Tensor], float]:
        seconds = 0.0

        def all_reduce(tensor: Tensor, operation: str) -> None:
            nonlocal seconds
            if self.processes > 1:
                start = self.clock()
                dist.all_reduce(tensor, getattr(dist.ReduceOp, operation.upper()))
                seconds += self.clock() - start

        if self.reduction is Reduction.FAST:
            size = len(parts) * parts[0].shape[1] + len(self.said)
            if size not in self._buffers:
                self._buffers[size] = torch.empty(size, device=self.device)
            buffer = self._buffers[size]
            means, self.heard = fast_mean(parts, self.workers, self.said, all_reduce, buffer)
        else:
            means, self.heard = exact_mean(parts, self.workers, self.said, all_reduce)
        return means, seconds

    # everything else ----------------------------------------------------------------------------

    def add(self, values: Tensor) -> Tensor:
        """The sum over processes, in float64 on the CPU; exact where at most one term is not 0."""
        total = values.detach().to("cpu", torch.float64)
        if self.control is not None:
            total = total.clone()
            dist.all_reduce(total, group=self.control)
        return total

    def share(self, rows: Tensor) -> Tensor:
        """(K, ...) values of the hosted workers to (N, ...) of all, in worker order, float64."""
        everyone = torch.zeros(self.workers, *rows.shape[1:], dtype=torch.float64)
        everyone[self.hosted.start : self.hosted.stop] = rows.detach().to("cpu", torch.float64)
        return self.add(everyone)

    def all_equal(self, number: int) -> bool:
        """Whether every process was given the same whole number, below 2^53."""
        numbers = torch.zeros(self.processes, dtype=torch.float64)
        numbers[self.rank] = number
        return len(set(self.add(numbers).tolist())) == 1

    def agree(self, *more: float) -> list[float]:
        """Let every process hear what all said, and the sums of `more`."""
        total = self.add(torch.tensor([*self.said.tolist(), *more]))
        self.heard = total[:2]
        return total[2:].tolist()

    def listen(self) -> tuple[float, float]:
        """What was heard last (sum of losses, sum of stop signals), and forget it."""
        assert self.heard is not None
        loss, stopping = self.heard.tolist()
        self.heard = None
        return loss, stopping

    def settle(self) -> list[dict[str, Any]]:
        """Close the open rounds: enter them in the ledger and return them as records."""
        rounds, self.ledger.open = self.ledger.open, []
        if not rounds:
            return []
        times = torch.zeros(self.processes, len(rounds))
        times[self.rank] = torch.tensor([r.seconds for r in rounds])
        times = self.add(times)
        shortest = times.min(0).values
        nothing = torch.zeros(len(self.hosted), device=self.device)
        drifts = torch.stack([nothing if r.drifts is None else r.drifts for r in rounds], 1)
        drift = self.share(drifts).mean(0)
        self.ledger.rounds += len(rounds)
        self.ledger.payload_bytes += sum(r.payload_bytes for r in rounds)
        self.ledger.comm_seconds += float(shortest.sum())
        self.ledger.wait_seconds += float((times - shortest).sum()) / self.processes
        return [
            {
                "step": r.step,
                "local_steps": r.local_steps,
                "drift": d,
                "payload_bytes": r.payload_bytes,
                "seconds": s,
            }
            for r, d, s in zip(rounds, drift.tolist(), shortest.tolist(), strict=True)
        ]
