"""VRL-SGD: local SGD that corrects each worker for its data (Liang et al., 1912.12844).

The rule agrees with a public implementation (zerolxf/VRL-SGD); the paper's text was not at hand.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, Part
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows


@dataclass
class VRLSGD(Rounds):
    """x_i <- x_i - lr (G_i - Δ_i); then Δ_i <- Δ_i + (x̄ - x_i) / (H lr) and x_i <- x̄.

    H lr is the sum of the round's learning rates, so that it may change within a round.
    """

    name: ClassVar[str] = "vrl_sgd"
    title: ClassVar[str] = "VRL-SGD"
    needs_plain_sgd: ClassVar[bool] = True

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.g -= workers.per_worker("delta")
        workers.scalars["lr_sum"] = workers.scalars.get("lr_sum", 0.0) + lr
        super().step(t, lr, workers)

    def send(self, workers: Rows) -> list[Part]:
        return [Part(workers.x)]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        delta = workers.per_worker("delta")
        delta += (means[0] - workers.x) / workers.scalars.pop("lr_sum")
        workers.restart(means[0])
