"""Workers that only count what they are told to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Part, RunInfo
from prsgd.algorithms.rows import Rows
from prsgd.distributed.burst import Burst
from prsgd.distributed.fragments import cut


def float32_bytes(numbers: int) -> int:
    """What a worker hands over for so many numbers as they are."""
    return 4 * numbers


class CountedRows:
    """Satisfies `algorithms.interface.Rows` for `size` columns. Every row is a single 0."""

    def __init__(self, counter: CommCounter, size: int) -> None:
        self.counter = counter
        self.size = size
        self.scalars: dict[str, float] = {}
        self.x: Array = np.zeros((1, 1))
        self._late: list[Array] = []

    @property
    def count(self) -> int:
        return self.counter.workers

    @property
    def computing(self) -> Sequence[int]:
        return range(self.count)

    def own(self, numbers: Sequence[float]) -> Array:
        return np.zeros((1, 1))

    def mean(self, *parts: Part, among: Sequence[int] | None = None) -> list[Array]:
        self.counter.enter(len(parts), self.size, 0)
        return [part.rows[0] for part in parts]

    def start_mean(self, delay: int, *parts: Part) -> None:
        self.counter.enter(len(parts), self.size, delay)
        self._late = [part.rows[0] for part in parts]

    def finish_mean(self) -> list[Array]:
        return self._late

    def restart(self, x: Array) -> None:
        pass

    def moments(self, at_sync: str) -> list[Part]:
        return [Part(self.x, "mean")] * (self.counter.moments_kept if at_sync == "average" else 0)

    def set_moments(self, at_sync: str, means: list[Array]) -> None:
        pass

    def per_worker(self, name: str) -> Array:
        return np.zeros((1, 1))

    def replicated(self, name: str) -> Array:
        return np.zeros(1)


class CommCounter(CountedRows):
    """Satisfies `algorithms.interface.Workers` for N `workers`. The loss never changes."""

    def __init__(
        self,
        sizes: Sequence[int],
        workers: int,
        moments_kept: int = 0,
        bytes_of: Callable[[int], int] = float32_bytes,
        bytes_in_groups: Callable[[int], int] = float32_bytes,
    ) -> None:
        """`sizes` are the numbers of each parameter, D together.

        `moments_kept` are the vectors (D,) that the optimiser keeps for each worker. `bytes_of`
        says what a worker hands over for a vector of so many numbers, and `bytes_in_groups` what
        within a group, where nothing is coded.
        """
        super().__init__(self, sum(sizes))
        self.sizes = sizes
        self.workers = workers
        self.moments_kept = moments_kept
        self.bytes_of = bytes_of
        self.bytes_in_groups = bytes_in_groups
        self.g: Array = np.zeros((1, 1))
        self.t = 0
        self.rounds = 0
        self.payload_bytes = 0
        self.burst = Burst()
        self.groups: dict[int, int] = {}  # rounds within groups, by group size
        self.group_payload_bytes = 0
        self.guessed = False  # whether the algorithm asked for a loss, which no counter knows
        self._fragments: list[CountedRows] = []

    @property
    def group_rounds(self) -> int:
        return sum(self.groups.values())

    def run(self, algorithm: Algorithm, info: RunInfo) -> None:
        """Count all that the algorithm sends in T steps."""
        algorithm.begin(info, self)
        lr = 0.0
        for self.t in range(1, info.steps + 1):
            lr = algorithm.lr(self.t, info.lr(self.t))
            algorithm.step(self.t, lr, self)
        algorithm.finish(info.steps, lr, self)

    def optimizer_step(self, lr: float) -> None:
        pass

    def fragments(self, count: int) -> Sequence[Rows]:
        if count == 1:
            return [self]
        if not self._fragments:
            parts = cut(self.sizes, count)
            self._fragments = [CountedRows(self, part.stop - part.start) for part in parts]
        return self._fragments

    def average(self, at_sync: str, group: int | None = None) -> None:
        vectors = 1 + len(self.moments(at_sync))
        if group is None or group == self.workers:
            self.enter(vectors, self.size, 0)
        else:
            self.groups[group] = self.groups.get(group, 0) + 1
            self.group_payload_bytes += vectors * self.bytes_in_groups(self.size)

    def average_gradients(self) -> None:
        self.enter(1, self.size, 0)

    def mean_loss(self) -> float:
        self.guessed = True
        self.payload_bytes += 8
        return 1.0

    def enter(self, vectors: int, numbers: int, delay: int) -> None:
        """A round of so many vectors of so many numbers."""
        payload = vectors * self.bytes_of(numbers)
        self.rounds += 1
        self.payload_bytes += payload
        self.burst.add(self.t, payload, delay)
