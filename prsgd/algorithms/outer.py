"""An outer optimiser of one's choice on the workers' average change, which is its gradient.

With one worker it is Lookahead (Zhang et al., NeurIPS 2019, 1907.08610) or, with Nesterov's step,
SNOO: what does not come from the workers. The papers' texts were not at hand.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.streamed import Streamed
from prsgd.fields import choice, fraction, positive


@dataclass
class Outer(Streamed):
    """Δ = x_prev - x̄;  x_prev <- x_prev - outer_lr d;  x_i <- x_prev, where d is, after r rounds,

    sgd:      m, where m <- mu m + Δ
    nesterov: Δ + mu m, with the same m
    adam:     (m / (1 - b1^r)) / (sqrt(v / (1 - b2^r)) + eps), where m <- b1 m + (1 - b1) Δ and
              v <- b2 v + (1 - b2) Δ²
    """

    name: ClassVar[str] = "outer"
    title: ClassVar[str] = "outer optimiser"
    outer: str = choice("nesterov", "sgd", "nesterov", "adam")
    outer_lr: float = positive(0.7)
    outer_momentum: float = fraction(0.9, one=False)  # mu, and b1
    outer_beta2: float = fraction(0.95, one=False)
    outer_eps: float = positive(1e-8)

    def __post_init__(self) -> None:
        if self.outer != "adam":  # which leaves nothing to be read in these
            self.outer_beta2, self.outer_eps = 0.95, 1e-8

    def begin(self, info: RunInfo, workers: Rows) -> None:
        workers.replicated("x_prev")[:] = workers.x[0]

    def send(self, workers: Rows) -> list[Part]:
        return [Part(workers.x)]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        x_prev = workers.replicated("x_prev")
        x_prev -= self.outer_lr * self.direction(x_prev - means[0], workers)
        workers.restart(x_prev)

    def direction(self, delta: Array, workers: Rows) -> Array:
        """d, from Δ (D,)."""
        m, mu, b2 = workers.replicated("m"), self.outer_momentum, self.outer_beta2
        m *= mu
        m += (1 - mu if self.outer == "adam" else 1) * delta
        if self.outer != "adam":
            return delta + mu * m if self.outer == "nesterov" else m
        v, r = workers.replicated("v"), workers.scalars.get("rounds", 0.0) + 1
        v *= b2
        v += (1 - b2) * delta**2
        workers.scalars["rounds"] = r
        return m / (1 - mu**r) / ((v / (1 - b2**r)) ** 0.5 + self.outer_eps)
