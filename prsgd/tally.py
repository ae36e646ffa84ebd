"""Workers that only count what they are told to send."""

from __future__ import annotations

from dataclasses import dataclass

from prsgd.algorithms.base import Algorithm


@dataclass
class Tally:
    """Satisfies `algorithms.base.Workers` for vectors of `parameters` numbers, 4 bytes each."""

    parameters: int
    momentum: bool
    rounds: int = 0
    payload_bytes: int = 0

    def run(self, algorithm: Algorithm, steps: int, lr: float) -> None:
        """All that the algorithm sends in T = `steps` steps."""
        for t in range(1, steps + 1):
            algorithm.step(t, lr, self)
        algorithm.finish(steps, self)

    def descend(self, lr: float) -> None:
        pass

    def average(self, moments: str) -> None:
        self._send(2 if self.momentum and moments == "average" else 1)

    def average_gradients(self) -> None:
        self._send(1)

    def _send(self, vectors: int) -> None:
        self.rounds += 1
        self.payload_bytes += 4 * vectors * self.parameters
