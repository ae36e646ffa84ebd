"""The processes: who hosts which workers, what they send each other, and the ledger of it.

Two kinds of traffic are kept apart. What the algorithm sends, the mean over all workers, goes
through `mean` and `group_means`, over NCCL on GPUs, and is charged to the ledger. Everything else
(evaluation, agreement, records) goes through `add` and `share`, always over gloo, and is charged to
nobody, but for the losses that an algorithm asks for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from prsgd.beats import Beats
from prsgd.errors import LOST, Lost
from prsgd.reduction import Reduction, exact_mean, fast_mean


def placement(workers: int, processes: int) -> list[range]:
    """The workers that each process hosts: contiguous, as even as can be."""
    bounds = [workers * rank // processes for rank in range(processes + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]


def groups_of(workers: int, size: int) -> list[range]:
    """The groups of `size` successive workers."""
    return [range(start, start + size) for start in range(0, workers, size)]


def hosts(group: range, placed: list[range]) -> list[int]:
    """The processes that host workers of a group."""
    return [rank for rank, span in enumerate(placed) if {*group} & {*span}]


def wire_bytes(payload: int, workers: int) -> int:
    """What a ring all-reduce of `payload` bytes makes each of N workers send: 2 (N-1)/N of it."""
    return 2 * (workers - 1) * payload // workers


@dataclass
class Round:
    """One averaging, as this process saw it: of all workers, or within groups of them."""

    step: int
    group: int | None  # workers in a group; None for all
    payload_bytes: int
    seconds: float  # in the all-reduce, waiting for others included
    drifts: Tensor | None = None  # (K,), |x_i - mean|^2 before it; None for gradients
    local_steps: list[int] = field(default_factory=list)  # of all N workers since the one before


@dataclass
class Ledger:
    """What the algorithm has communicated so far; the same numbers on every process.

    What stays within groups of workers is counted apart: it goes over other links.
    """

    rounds: int = 0
    payload_bytes: int = 0
    group_rounds: int = 0
    group_payload_bytes: int = 0
    comm_seconds: float = 0.0  # of the last process to arrive in each round: it waits for nobody
    wait_seconds: float = 0.0  # of the others, mean over processes
    open: list[Round] = field(default_factory=list)  # not yet settled between the processes

    @property
    def count(self) -> int:
        """Rounds of all workers so far, settled or not."""
        return self.rounds + sum(r.group is None for r in self.open)


class Cluster:
    """This process and its peers.

    `said` are two numbers (mean loss, stop signal) that travel with every averaging and every
    agreement; `heard` is what all processes said, summed, or None since it was last looked at.
    """

    def __init__(
        self,
        workers: int,
        device: str,
        reduction: str,
        processes: int = 1,
        timeout: float = 300.0,
    ) -> None:
        self.workers = workers
        self.processes = processes
        self.timeout = timedelta(seconds=timeout)
        self.rank = int(os.environ["RANK"]) if processes > 1 else 0
        self.placed = placement(workers, self.processes)
        self.hosted = self.placed[self.rank]
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
            try:
                dist.init_process_group(backend, timeout=self.timeout)
            except dist.DistError as error:
                raise Lost(f"{LOST}: not all came to the start") from error
            self.control = dist.new_group(timeout=self.timeout, backend="gloo")  # type: ignore[assignment]
            self._beats = Beats(self.rank, self.processes)
        self.step = 0  # that this process is in
        self.said = torch.zeros(2, device=self.device)
        self.heard: Tensor | None = None
        self._buffers: dict[int, Tensor] = {}
        self._links: dict[int, list[tuple[slice, dist.ProcessGroup | None]]] = {}  # by group size

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
        means, self.heard, seconds = self._mean(parts, self.workers, self.said)
        self._charge(step, None, means, seconds)
        return means

    def group_means(
        self, step: int, parts: list[Tensor], size: int
    ) -> Iterator[tuple[slice, list[Tensor]]]:
        """The same within each group of `size` workers: hosted rows, and their group's means."""
        means: list[Tensor] = []
        total, silent = 0.0, self.said[:0]
        for rows, link in self.links(size):
            mine = [part[rows] for part in parts]
            means, _, seconds = self._mean(mine, size, silent, link, alone=link is None)
            total += seconds
            yield rows, means
        self._charge(step, size, means, total)

    def _charge(self, step: int, group: int | None, means: list[Tensor], seconds: float) -> None:
        payload = sum(m.numel() * m.element_size() for m in means)
        self.ledger.open.append(Round(step, group, payload, seconds))

    def uncharged_mean(self, part: Tensor) -> Tensor:
        """The mean for looking at x̄: not part of the algorithm."""
        means, self.heard, _ = self._mean([part], self.workers, self.said)
        return means[0].clone()

    def links(self, size: int) -> list[tuple[slice, dist.ProcessGroup | None]]:
        """The hosted rows of each group of `size`, and the processes to ask (None: only this)."""
        if self.workers % size:
            raise ValueError(f"{self.workers} workers cannot be put in groups of {size}")
        if size not in self._links:
            found = self._links[size] = []
            for group in groups_of(self.workers, size):
                ranks = hosts(group, self.placed)
                link: Any = None
                if len(ranks) > 1:
                    link = dist.new_group(ranks, self.timeout)  # which all processes have to call
                if self.rank in ranks:
                    first = max(group.start, self.hosted.start) - self.hosted.start
                    last = min(group.stop, self.hosted.stop) - self.hosted.start
                    found.append((slice(first, last), link))
        return self._links[size]

    def _mean(
        self,
        parts: list[Tensor],
        workers: int,
        said: Tensor,
        link: dist.ProcessGroup | None = None,
        alone: bool = False,
    ) -> tuple[list[Tensor], Tensor, float]:
        """The means over `workers`, what was said, and the seconds; of all processes or a link's,
        or of this one alone."""
        seconds = 0.0

        def all_reduce(tensor: Tensor, operation: str) -> None:
            nonlocal seconds
            if self.processes > 1 and not alone:
                start = self.clock()
                self._all_reduce(tensor, operation, link)
                seconds += self.clock() - start

        if self.reduction is Reduction.FAST:
            size = len(parts) * parts[0].shape[1] + len(said)
            if size not in self._buffers:
                self._buffers[size] = torch.empty(size, device=self.device)
            buffer = self._buffers[size]
            return *fast_mean(parts, workers, said, all_reduce, buffer), seconds
        return *exact_mean(parts, workers, said, all_reduce), seconds

    # everything else ----------------------------------------------------------------------------

    def add(self, values: Tensor) -> Tensor:
        """The sum over processes, in float64 on the CPU; exact where at most one term is not 0."""
        total = values.detach().to("cpu", torch.float64)
        if self.control is not None:
            total = total.clone()
            self._all_reduce(total, "sum", self.control)
        return total

    def _all_reduce(self, tensor: Tensor, operation: str, link: dist.ProcessGroup | None) -> None:
        """In place; raises `Lost` where a process does not take part."""
        try:
            self._beats.beat(self.step, everyone=link in (None, self.control))
            dist.all_reduce(tensor, getattr(dist.ReduceOp, operation.upper()), group=link)
        except RuntimeError as error:
            raise Lost(self._beats.missing(str(error))) from error

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
        shortest = torch.tensor([self.seconds(r, times[:, i]) for i, r in enumerate(rounds)])
        nothing = torch.zeros(len(self.hosted), device=self.device)
        drifts = torch.stack([nothing if r.drifts is None else r.drifts for r in rounds], 1)
        drift = self.share(drifts).mean(0)
        for r in rounds:
            if r.group is None:
                self.ledger.rounds += 1
                self.ledger.payload_bytes += r.payload_bytes
            else:
                self.ledger.group_rounds += 1
                self.ledger.group_payload_bytes += r.payload_bytes
        self.ledger.comm_seconds += float(shortest.sum())
        self.ledger.wait_seconds += float((times - shortest).clamp(min=0).sum()) / self.processes
        return [
            {
                "step": r.step,
                "group": r.group or self.workers,
                "local_steps": r.local_steps,
                "drift": d,
                "payload_bytes": r.payload_bytes,
                "seconds": s,
            }
            for r, d, s in zip(rounds, drift.tolist(), shortest.tolist(), strict=True)
        ]

    def seconds(self, round: Round, times: Tensor) -> float:
        """Of a round that took the processes so long: in each group the last to arrive waited for
        nobody, and the slowest group counts."""
        groups = groups_of(self.workers, round.group or self.workers)
        return max(float(times[hosts(group, self.placed)].min()) for group in groups)
