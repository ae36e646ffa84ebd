"""Workers that only count what they are told to send."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Part, RunInfo


@dataclass
class CommCounter:
    """Satisfies `algorithms.interface.Workers` for vectors of `parameters` numbers.

    Every row is a single 0, and the loss never changes.
    """

    parameters: int  # D
    workers: int  # N
    moments_kept: int = 0  # vectors (D,) that the optimiser keeps for each worker
    vector_bytes: int = 0  # of a vector that a worker hands over; 4 D unless it is given
    rounds: int = 0
    payload_bytes: int = 0
    groups: dict[int, int] = field(default_factory=dict)  # rounds within groups, by group size
    group_payload_bytes: int = 0
    guessed: bool = False  # whether the algorithm asked for a loss, which no counter knows
    scalars: dict[str, float] = field(default_factory=dict)
    x: Array = field(default_factory=lambda: np.zeros((1, 1)))
    g: Array = field(default_factory=lambda: np.zeros((1, 1)))

    def __post_init__(self) -> None:
        self.vector_bytes = self.vector_bytes or 4 * self.parameters

    @property
    def group_rounds(self) -> int:
        return sum(self.groups.values())

    def run(self, algorithm: Algorithm, info: RunInfo) -> None:
        """Count all that the algorithm sends in T steps."""
        algorithm.begin(info, self)
        lr = 0.0
        for t in range(1, info.steps + 1):
            lr = algorithm.lr(t, info.lr(t))
            algorithm.step(t, lr, self)
        algorithm.finish(info.steps, lr, self)

    def optimizer_step(self, lr: float) -> None:
        pass

    def mean(self, *parts: Part) -> list[Array]:
        self._send(len(parts))
        return [part.rows[0] for part in parts]

    def restart(self, x: Array) -> None:
        pass

    def moments(self, at_sync: str) -> list[Part]:
        return [Part(self.x, "mean")] * (self.moments_kept if at_sync == "average" else 0)

    def set_moments(self, at_sync: str, means: list[Array]) -> None:
        pass

    def average(self, at_sync: str, group: int | None = None) -> None:
        vectors = 1 + len(self.moments(at_sync))
        if group is None or group == self.workers:
            self._send(vectors)
        else:
            self.groups[group] = self.groups.get(group, 0) + 1
            self.group_payload_bytes += vectors * self.vector_bytes

    def average_gradients(self) -> None:
        self._send(1)

    def mean_loss(self) -> float:
        self.guessed = True
        self.payload_bytes += 8
        return 1.0

    def per_worker(self, name: str) -> Array:
        return np.zeros((1, 1))

    def replicated(self, name: str) -> Array:
        return np.zeros(1)

    def _send(self, vectors: int) -> None:
        self.rounds += 1
        self.payload_bytes += vectors * self.vector_bytes
