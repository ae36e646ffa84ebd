"""DiLoCo: an outer Nesterov step on the workers' average change (Douillard et al., 2311.08105).

The rule agrees with a public implementation (PrimeIntellect's diloco_simple), which hands Δ to
torch.optim.SGD(nesterov=True) and keeps the inner AdamW's state. The paper's text was not at hand.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.streamed import Streamed
from prsgd.fields import fraction, positive


@dataclass
class DiLoCo(Streamed):
    """Δ = x_prev - x̄;  m <- mu m + Δ;  x_prev <- x_prev - outer_lr (Δ + mu m);  x_i <- x_prev.

    The inner optimiser is `optimiser`. Its moments stay with their worker and are never sent.
    """

    name: ClassVar[str] = "diloco"
    title: ClassVar[str] = "DiLoCo"
    outer_lr: float = positive(0.7)
    outer_momentum: float = fraction(0.9, one=False)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        workers.replicated("x_prev")[:] = workers.x[0]

    def send(self, workers: Rows) -> list[Part]:
        return [Part(workers.x)]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        x_prev, m = workers.replicated("x_prev"), workers.replicated("m")
        delta = x_prev - means[0]
        m *= self.outer_momentum
        m += delta
        x_prev -= self.outer_lr * (delta + self.outer_momentum * m)
        workers.restart(x_prev)
