"""This process and its peers: the collectives.

Two kinds of traffic are kept apart. What the algorithm sends goes through `mean` and `group_means`,
over NCCL on GPUs, and the caller enters it in the ledger. Everything else (evaluation, control
numbers, records) goes through `all_reduce_sum` and what is built on it, always over gloo.
"""

from __future__ import annotations

import copy
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from prsgd.distributed.heartbeat import Heartbeat
from prsgd.distributed.meeting import Meeting
from prsgd.distributed.peers import Peers
from prsgd.distributed.pending import Stopwatch
from prsgd.distributed.placement import groups_of, hosts, placement, sharing
from prsgd.distributed.reduction import Reduction, exact_mean, fast_mean
from prsgd.distributed.wire import BYTES_PER_NUMBER
from prsgd.errors import LOST, ProcessLost, UserError

MARGIN = timedelta(seconds=60)  # before NCCL ends a process whose collective timed out


class Mean(NamedTuple):
    """What a collective mean brought to this process."""

    means: list[Tensor]  # (D,) for each part; the next collective mean overwrites them
    control: Tensor | None  # the control numbers of all processes, summed
    payload_bytes: int  # bytes that one worker handed over
    watch: Stopwatch  # of the all-reduces, waiting for other processes included


def gpu_number(device: torch.device) -> int:
    """A number that tells this machine's GPU from all others, on any machine."""
    name = f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"
    return zlib.crc32(name.encode())


class Communicator:
    """The processes that host the workers, as one of them sees them."""

    def __init__(
        self,
        workers: int,
        device: str,
        reduction: str,
        processes: int = 1,
        timeout: float = 300.0,
        meeting: Meeting | None = None,
        asked: Callable[[], int] = lambda: 0,
    ) -> None:
        """`meeting` is where the ranks of an agent of our own meet; others have torchrun's.

        `asked` tells whether this process was asked to end.
        """
        self.workers = workers
        self.averaged = workers  # those whose mean is taken
        self.shares: Tensor | None = None  # (K, 1): 1 for each of them that is hosted, and else 0
        self.processes = processes
        self.timeout = timedelta(seconds=timeout)
        self.rank = int(os.environ["RANK"]) if processes > 1 else 0
        self.placed = placement(workers, self.processes)
        self.local_workers = self.placed[self.rank]
        self.reduction = Reduction(reduction)
        self._gloo: dist.ProcessGroup | None = None
        self.peers = Peers(timeout, meeting, asked)
        self._under_way: list[Any] = []  # a collective that a GPU does while the CPU goes on
        if device == "cuda":
            sees_all = torch.cuda.device_count() > 1  # GPUs of its machine, or else its own only
            local = int(os.environ.get("LOCAL_RANK", 0)) if sees_all else 0
            self.device = torch.device("cuda", local)
            torch.cuda.set_device(self.device)
        else:
            self.device = torch.device("cpu")
        if self.processes > 1:
            options: dict[str, Any] = {"backend": "gloo", "timeout": self.timeout}
            if device == "cuda":  # connected here, and not within the first round
                options = {"backend": "nccl", "device_id": self.device}
                options["timeout"] = self.timeout + MARGIN
            try:
                if meeting:
                    meeting.join(self.rank, processes, **options)
                else:
                    dist.init_process_group(**options)
            except dist.DistError as error:
                raise ProcessLost(f"{LOST}: not all came to the start") from error
            self._gloo = dist.new_group(timeout=self.timeout, backend="gloo")  # type: ignore[assignment]
            self.peers.heartbeat = Heartbeat(self.rank, processes, meeting and meeting.beats)
        self._step = 0
        self._group: dist.ProcessGroup | None = None  # of what the algorithm sends; None: torch's
        if self.processes > 1 and device == "cuda":
            self._refuse_shared_gpus()
        self._buffers: dict[tuple[int, torch.dtype], Tensor] = {}  # by length and type
        self._subgroups: dict[
            int, list[tuple[slice, dist.ProcessGroup | None]]
        ] = {}  # by group size

    @property
    def is_main(self) -> bool:
        """Whether this process writes the records."""
        return self.rank == 0

    def _refuse_shared_gpus(self) -> None:
        """NCCL wants a GPU of its own for each process, and would fail in the first round."""
        shared = sharing(self._gather_ranks(gpu_number(self.device)))
        if shared:
            raise UserError(
                f"ranks {', '.join(map(str, shared))} share a GPU; each needs one of its own: "
                "start at most one for each GPU, and look at CUDA_VISIBLE_DEVICES"
            )

    def aside(self) -> Communicator:
        """The same processes once more: what goes through it may be under way beside the rest."""
        other = copy.copy(self)
        other._buffers, other._under_way = {}, []
        if self.processes > 1:
            other._group = dist.new_group(timeout=self.timeout)  # type: ignore[assignment]
        return other

    def close(self, failed: bool = False) -> None:
        """Leave the others; after a failure NCCL may wait for them for ever."""
        if self.processes > 1:
            if self.peers.meeting:
                self.peers.meeting.leave(self.rank)
            if not failed or self.device.type == "cpu":
                dist.destroy_process_group()

    def enter_step(self, t: int) -> None:
        """Note the step, which an error names where a process is lost."""
        self._step = t

    def clock(self) -> float:
        """Seconds, once all work that this thread has queued is done."""
        self.catch_up()
        if self.device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return time.perf_counter()

    # what the algorithm sends -------------------------------------------------------------------

    def among(self, workers: Sequence[int] | None) -> Communicator:
        """The same processes, which take means over these workers only, or over all for None."""
        if workers is None:
            return self
        other = copy.copy(self)
        own = [[float(worker in workers)] for worker in self.local_workers]
        other.averaged, other.shares = len(workers), torch.tensor(own, device=self.device)
        return other

    def mean(self, parts: list[Tensor], control: Tensor) -> Mean:
        """The mean over all N workers, or those `among`, of each of the (K, D) `parts`.

        `control` (any number of numbers, on the device) travels with it.
        """
        if self.shares is not None:
            parts = [part * self.shares for part in parts]
        return self._mean(parts, self.averaged, control, self._group)

    def group_means(self, parts: list[Tensor], size: int) -> Iterator[tuple[slice, Mean]]:
        """The same within each group of `size` workers: hosted rows, and their group's mean.

        All of them have the same watch.
        """
        silent = torch.empty(0, device=self.device)
        watch = Stopwatch(self.device)
        for rows, group in self.subgroups(size):
            mine = [part[rows] for part in parts]
            yield rows, self._mean(mine, size, silent, group, watch, alone=group is None)

    def subgroups(self, size: int) -> list[tuple[slice, dist.ProcessGroup | None]]:
        """The hosted rows of each group of `size`, and its processes (None: this one alone)."""
        if self.workers % size:
            raise ValueError(f"{self.workers} workers cannot be put in groups of {size}")
        if size not in self._subgroups:
            found = self._subgroups[size] = []
            for group in groups_of(self.workers, size):
                ranks = hosts(group, self.placed)
                link: Any = None
                if len(ranks) > 1:
                    link = dist.new_group(ranks, self.timeout)  # all processes have to call this
                if self.rank in ranks:
                    first = max(group.start, self.local_workers.start) - self.local_workers.start
                    last = min(group.stop, self.local_workers.stop) - self.local_workers.start
                    found.append((slice(first, last), link))
        return self._subgroups[size]

    def _mean(
        self,
        parts: list[Tensor],
        workers: int,
        control: Tensor,
        group: dist.ProcessGroup | None = None,
        watch: Stopwatch | None = None,
        alone: bool = False,
    ) -> Mean:
        """The mean over `workers`, whom all processes host, or those of a group, or this alone."""
        watch = watch or Stopwatch(self.device)

        def all_reduce(tensor: Tensor, operation: str) -> None:
            if self.processes > 1 and not alone:
                with watch.running():
                    self._all_reduce(tensor, operation, group)

        if self.reduction is Reduction.FAST:
            size, dtype = len(parts) * parts[0].shape[1] + len(control), parts[0].dtype
            if (size, dtype) not in self._buffers:
                self._buffers[size, dtype] = torch.empty(size, dtype=dtype, device=self.device)
            buffer = self._buffers[size, dtype]
            means, heard = fast_mean(parts, workers, control, all_reduce, buffer)
            bytes_per_number = dtype.itemsize
        else:
            means, heard = exact_mean(parts, workers, control, all_reduce)
            bytes_per_number = BYTES_PER_NUMBER["exact"]
        payload = bytes_per_number * sum(mean.numel() for mean in means)
        return Mean(means, heard, payload, watch)

    def exchange(self, pieces: list[Tensor], sizes: list[int], watch: Stopwatch) -> list[Tensor]:
        """Give bytes to each process and receive sizes[rank] bytes of each, as the watch runs."""
        if self.processes == 1:
            return pieces
        received = torch.empty(sum(sizes), dtype=torch.uint8, device=self.device)
        given, lengths = torch.cat(pieces), [len(piece) for piece in pieces]
        with watch.running():
            self._collective(
                lambda: dist.all_to_all_single(
                    received, given, sizes, lengths, group=self._group, async_op=True
                ),
                self._group,
            )
        return [*torch.split(received, sizes)]

    # what everything else sends -----------------------------------------------------------------

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum over processes, in float64 on the CPU; exact where at most one term is not 0."""
        total = self._on_cpu(values)
        if self._gloo is not None:
            total = total.clone()
            self._all_reduce(total, "sum", self._gloo)
        return total

    def _all_reduce(self, tensor: Tensor, operation: str, group: dist.ProcessGroup | None) -> None:
        """In place."""
        reduce = getattr(dist.ReduceOp, operation.upper())
        self._collective(lambda: dist.all_reduce(tensor, reduce, group=group, async_op=True), group)

    def _collective(self, start: Callable[[], Any], group: dist.ProcessGroup | None) -> None:
        """Start it and wait; raises `ProcessLost` where a process does not take part.

        On a GPU only what is launched later waits for it, and the CPU for the one before it: when
        the CPU waits for all that was launched, no collective may be among it that never ends.
        """
        self.catch_up()
        with self.peers.missed():
            self.peers.beat(self._step, everyone=group in (None, self._gloo))
            if self.device.type == "cuda" and group is not self._gloo:
                self._under_way.append(start())
                self._under_way[0].wait()
            elif self._group is not None:
                start().wait()  # without a look at it, which would cost who computes
            else:
                self.peers.wait(start())

    def catch_up(self) -> None:
        """Wait for the collective that a GPU was given; raises `ProcessLost` as well."""
        if self._under_way:
            with self.peers.missed():
                self.peers.wait(self._under_way[0])
            self._under_way.clear()

    def _on_cpu(self, values: Tensor) -> Tensor:
        """(...) in float64, which no later change of `values` changes on a GPU."""
        self.catch_up()
        return values.detach().to("cpu", torch.float64)

    def gather_workers(self, rows: Tensor) -> Tensor:
        """(K, ...) values of the hosted workers to (N, ...) of all, in worker order, float64."""
        everyone = torch.zeros(self.workers, *rows.shape[1:], dtype=torch.float64)
        hosted = slice(self.local_workers.start, self.local_workers.stop)
        everyone[hosted] = self._on_cpu(rows)
        return self.all_reduce_sum(everyone)

    def of_worker(self, worker: int, rows: Tensor) -> Tensor:
        """The row of a worker, of any type, bit by bit, from those of the hosted ones (K, ...)."""
        is_here = worker in self.local_workers
        value = rows[self.local_workers.index(worker) if is_here else 0]
        numbers = value.detach().to("cpu", copy=True).reshape(-1).view(torch.uint8)
        if not is_here:
            numbers.zero_()
        return self.all_reduce_sum(numbers).to(torch.uint8).view(value.dtype).view(value.shape)

    def all_equal(self, number: int) -> bool:
        """Whether every process was given the same whole number, below 2^53."""
        return len(set(self._gather_ranks(number))) == 1

    def _gather_ranks(self, number: int) -> list[float]:
        """A whole number below 2^53 of each process, by rank."""
        numbers = torch.zeros(self.processes, dtype=torch.float64)
        numbers[self.rank] = number
        return self.all_reduce_sum(numbers).tolist()

    def sync_control(self, control: Tensor, *more: float) -> tuple[Tensor, list[float]]:
        """The sums over processes of the control numbers, without a mean, and of `more`."""
        total = self.all_reduce_sum(torch.tensor([*self._on_cpu(control).tolist(), *more]))
        return total[: len(control)], total[len(control) :].tolist()

    def barrier(self) -> None:
        """Wait until every process has come here."""
        self.all_reduce_sum(torch.zeros(1))
