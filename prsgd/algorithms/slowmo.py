"""SlowMo: slow momentum on top of local SGD (Wang et al., ICLR 2020, 1910.00643).

The rule agrees with two public implementations (fairscale, torchdistx), which also take the
learning rate at the time of averaging and start u at 0; the paper's text was not at hand.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.averaging import ModelAveraging
from prsgd.algorithms.info import Array, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rows import Rows
from prsgd.fields import fraction, positive


@dataclass
class SlowMo(ModelAveraging):
    """u <- beta u + (x_prev - x̄) / lr;  x_prev <- x_prev - alpha lr u;  x_i <- x_prev.

    beta = 0 and alpha = 1 give Algorithm 1 back.
    """

    name: ClassVar[str] = "slowmo"
    title: ClassVar[str] = "SlowMo"
    beta: float = fraction(0.5, one=False)
    alpha: float = positive(1.0)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        workers.replicated("x_prev")[:] = workers.x[0]

    def restart_point(self, mean: Array, lr: float, workers: Rows) -> Array:
        x_prev, u = workers.replicated("x_prev"), workers.replicated("u")
        u *= self.beta
        u += (x_prev - mean) / lr
        x_prev -= self.alpha * lr * u
        return x_prev
