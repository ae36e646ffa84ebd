"""AdaComm: intervals that shrink with the loss (Wang and Joshi, MLSys 2019, 1810.08313).

Neither the paper's text nor its code was at hand; others' versions differ in where H_0 and the
learning rates stand. Ours is the rule below; the paper measures blocks in seconds, we in epochs.
"""

from dataclasses import dataclass
from math import ceil, isfinite
from typing import ClassVar

from prsgd.algorithms.averaging import AveragesMoments
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.fields import positive, whole


@dataclass
class AdaComm(AveragesMoments):
    """After each block H <- ceil(H_0 sqrt(lr_0 / lr * F / F_0)), or half of H if that is not less.

    F is the workers' mean mini-batch loss, F_0 that of the first step; lr_0 is the largest rate.
    """

    name: ClassVar[str] = "adacomm"
    title: ClassVar[str] = "AdaComm"
    interval: int = whole(8, 1)
    block: float = positive(1.0)

    def begin(self, info: RunInfo, workers: Workers) -> None:
        block = max(1, round(min(self.block * info.steps_per_epoch, info.steps)))
        lr = max(map(info.lr, range(1, info.steps + 1)))
        own = {"H": self.interval, "end": self.interval, "block": block, "block_end": block}
        workers.scalars |= {**own, "lr": lr}

    def step(self, t: int, lr: float, workers: Workers) -> None:
        now = workers.scalars
        if t == 1:
            now["F"] = workers.mean_loss()
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if t != now["end"]:
            return
        workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j
        if t >= now["block_end"]:
            square = now["lr"] / lr * workers.mean_loss() / now["F"]
            steps = ceil(self.interval * square**0.5) if isfinite(square) else 1
            now["H"] = max(1, steps if steps < now["H"] else ceil(now["H"] / 2))
            now["block_end"] = t + now["block"]
        now["end"] = t + now["H"]

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        if t > workers.scalars["end"] - workers.scalars["H"]:
            workers.average(self.momentum_at_sync)
