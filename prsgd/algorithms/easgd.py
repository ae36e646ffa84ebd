"""Elastic averaging SGD, synchronous (Zhang, Choromanska and LeCun, NeurIPS 2015, 1412.6651).

The exchange agrees with a public synchronous implementation (Twitter's torch-distlearn). It comes
after the step here, as in every method of this package; the authors' asynchronous code computes
the elastic force before the step and applies it afterwards.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows
from prsgd.fields import fraction


@dataclass
class EASGD(Rounds):
    """Every tau = I steps: e_i = a (x_i - x̃);  x_i <- x_i - e_i;  x̃ <- x̃ + sum_i e_i.

    a = beta / N. What is evaluated and returned is the centre x̃. Moments stay with their worker.
    """

    name: ClassVar[str] = "easgd"
    title: ClassVar[str] = "EASGD"
    restarts: ClassVar[bool] = False
    beta: float = fraction(0.9, one=True)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        workers.replicated("centre")[:] = workers.x[0]

    def send(self, workers: Rows) -> list[Part]:
        return [Part(workers.x, reference=workers.replicated("centre"))]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        centre = workers.replicated("centre")
        workers.x += self.beta / workers.count * (centre - workers.x)
        centre += self.beta * (means[0] - centre)  # N a (x̄ - x̃) = sum_i e_i

    def eval_params(self, workers: Workers) -> Array:
        return workers.replicated("centre")
