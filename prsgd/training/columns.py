"""Some columns of the workers' rows, and the rounds that average them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from prsgd.algorithms.info import Part
from prsgd.distributed.communicator import Communicator, Mean
from prsgd.distributed.compression import FLOAT32
from prsgd.distributed.late import Late
from prsgd.distributed.ledger import Round
from prsgd.distributed.pending import Stopwatch
from prsgd.training.differences import Differences

if TYPE_CHECKING:
    from prsgd.training.workers import RowWorkers

LATE = "late"  # how the names of its state begin


class UnderWay(NamedTuple):
    """A round whose means are not here yet."""

    late: Late
    t: int  # the step that it was sent in
    delay: int  # steps after which it is used
    copies: list[Part]  # what is sent; a GPU may still read it when the thread has ended
    x: Tensor | None  # (K, D): the x_i of these copies, if they are among them
    local_steps: list[int]  # of each of the N workers since the round before


class Columns:
    """One fragment of the rows, or all of them; satisfies `algorithms.interface.Rows`."""

    def __init__(
        self, workers: RowWorkers, columns: slice, scalars: dict[str, float], number: int = 0
    ) -> None:
        """`number` is 1..F of a fragment, and 0 of the whole."""
        self.workers = workers
        self.columns = columns
        self.scalars = scalars
        self.x = workers.x[:, columns] if number else workers.x
        self.differences: Differences | None = None
        if workers.coding:
            compressor, seed = workers.coding
            place = [number] if number else []
            own = self.per_worker, self.replicated
            self.differences = Differences(compressor, seed, place, *own)
        self._under_way: UnderWay | None = None

    @property
    def count(self) -> int:
        return self.workers.count

    @property
    def computing(self) -> Sequence[int]:
        return self.workers.computing

    def own(self, numbers: Sequence[float]) -> Tensor:
        return self.workers.own(numbers)

    @torch.no_grad()
    def mean(self, *parts: Part, among: Sequence[int] | None = None) -> list[Tensor]:
        workers = self.workers
        communicator = workers.communicator.among(among)
        found = self._mean(parts, workers.control(), workers.t, communicator)
        x = self.x if parts[0].rows is self.x else None
        self._enter(found, x, workers.t, 0, workers.take_local_steps(), among)
        return found.means

    @torch.no_grad()
    def start_mean(self, delay: int, *parts: Part) -> None:
        copies = [Part(part.rows.clone(), part.reference) for part in parts]
        t, silent, aside = self.workers.t, self.x.new_empty(0), self.workers.aside

        def work() -> Mean:
            found = self._mean(copies, silent, t, aside)
            aside.catch_up()
            return found._replace(means=[mean.clone() for mean in found.means])

        x = copies[0].rows if parts[0].rows is self.x else None
        late, steps = self.workers.later(work), self.workers.take_local_steps()
        self._under_way = UnderWay(late, t, delay, copies, x, steps)

    @torch.no_grad()
    def finish_mean(self) -> list[Tensor]:
        if self.sent_at:
            self.workers.settle(self.sent_at)
        count = int(self.scalars.pop(LATE))
        return [self.replicated(f"{LATE}/mean{place}") for place in range(count)]

    @property
    def sent_at(self) -> int | None:
        """The step in which what is under way was sent; None if nothing is."""
        return self._under_way and self._under_way.t

    def settle(self) -> None:
        """Wait for what is under way and keep it, as checkpoints cannot keep what is not there."""
        if self._under_way is None:
            return
        late, t, delay, _, x, steps = self._under_way
        watch = Stopwatch(self.x.device)
        with watch.running():
            found: Mean = self.workers.communicator.peers.wait(late)
        for place, mean in enumerate(found.means):
            self.replicated(f"{LATE}/mean{place}").copy_(mean)
        self.scalars[LATE] = len(found.means)
        self._enter(found._replace(watch=watch, control=None), x, t, delay, steps)
        self._under_way = None

    @torch.no_grad()
    def restart(self, x: Tensor) -> None:
        self.x.copy_(x)
        if self.differences:
            self.differences.restarted(x)

    def moments(self, at_sync: str) -> list[Part]:
        if at_sync != "average":
            return []
        return [Part(rows, reference="mean") for rows in self._moments()]

    def _moments(self) -> list[Tensor]:
        return [rows[:, self.columns] for rows in self.workers.optimizer.moments.values()]

    @torch.no_grad()
    def set_moments(self, at_sync: str, means: list[Tensor]) -> None:
        """The moments' corrections are the same for all workers of a fragment, and stay."""
        optimizer = self.workers.optimizer
        if at_sync == "average":
            for name, rows, mean in zip(optimizer.moments, self._moments(), means, strict=True):
                rows.copy_(mean.clamp(min=0) if name == "v" and self.differences else mean)
        elif at_sync == "reset":
            for rows in self._moments():
                rows.zero_()

    def per_worker(self, name: str) -> Tensor:
        return self.workers.per_worker(name)[:, self.columns]

    def replicated(self, name: str) -> Tensor:
        return self.workers.replicated(name)[self.columns]

    def _mean(
        self, parts: Sequence[Part], control: Tensor, t: int, communicator: Communicator
    ) -> Mean:
        """The mean of each part, in step t."""
        communicator.enter_step(t)
        if self.differences:
            return self.differences.mean(parts, control, t, communicator)
        return communicator.mean([part.rows for part in parts], control)

    def _enter(
        self,
        found: Mean,
        x: Tensor | None,
        t: int,
        delay: int,
        steps: list[int],
        among: Sequence[int] | None = None,
    ) -> None:
        """Into the ledger; x (K, D) are the x_i that were averaged, None where others were."""
        workers, download = self.workers, 0
        drifts = None if x is None else workers.squared_distances(x, found.means[0])
        if among is not None:
            numbers = sum(mean.numel() for mean in found.means)
            download = workers.take_newcomers(among) * FLOAT32 * numbers // len(among)
            workers.pool_statistics(among)
            if drifts is not None:
                drifts *= workers.own([i in among for i in range(workers.count)])[:, 0]
                drifts *= workers.count / len(among)
        round = Round.of(found, t, drifts, steps, delay=delay, download_bytes=download)
        workers.ledger.append(round)
