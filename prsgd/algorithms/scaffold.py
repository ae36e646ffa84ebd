"""SCAFFOLD: control variates against client drift (Karimireddy et al., ICML 2020, 1910.06378).

Option II for c_i. It agrees with several public implementations (NIID-Bench and its kin); the
paper's text was not at hand. With global_lr = 1 it is VRL-SGD.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.streamed import Streamed
from prsgd.fields import positive


@dataclass
class Scaffold(Streamed):
    """y_i <- y_i - lr (G_i - c_i + c), where y_i is x_i here; after H of these steps

    c_i <- c_i - c + (x - y_i) / (H lr);  c <- mean_i c_i;  x <- x + global_lr mean_i (y_i - x).
    H lr is the sum of their learning rates. y_i and the change of c_i are sent: twice the model.
    Where S of the N workers take part, the last mean is over them, and the other c_i stay as they
    are.
    """

    name: ClassVar[str] = "scaffold"
    title: ClassVar[str] = "SCAFFOLD"
    needs_plain_sgd: ClassVar[bool] = True
    global_lr: float = positive(1.0)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        workers.replicated("x")[:] = workers.x[0]

    def check(self, workers: int) -> str:
        has_none = "has no groups, as a mean of y_i says nothing of a worker's own gradients"
        return has_none if self.groups else super().check(workers)

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.g -= workers.per_worker("c")
        workers.g += workers.replicated("c")
        super().step(t, lr, workers)

    def send(self, workers: Rows) -> list[Part]:
        x, c, c_i = workers.replicated("x"), workers.replicated("c"), workers.per_worker("c")
        change = (x - workers.x) / workers.scalars["lr_sum"] - c
        among, share = self.among(workers), 1.0
        if among is not None:
            change *= workers.own([float(i in among) for i in range(workers.count)])
            share = len(among) / workers.count
        c_i += change
        return [Part(workers.x), Part(c + share * change, reference=c)]

    def receive(self, means: list[Array], lr: float, workers: Rows) -> None:
        x, (mean_y, mean_c) = workers.replicated("x"), means
        x += self.global_lr * (mean_y - x)
        workers.replicated("c")[:] = mean_c
        workers.restart(x)
