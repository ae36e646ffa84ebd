"""Post-local SGD: mini-batch SGD first, local SGD later (Lin et al., ICLR 2020, 1808.07217).

It agrees with the authors' code (epfml/LocalSGD-Code) in the parameters; they average models in
the first phase too, which leaves each worker its own momentum, and count I from step 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.averaging import AveragesMoments
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.fields import choice, positive, whole


@dataclass
class PostLocalSGD(AveragesMoments):
    """Mini-batch SGD until `switch` (the first drop of lr, or `after` epochs or steps), then
    Algorithm 1, whose first round begins there."""

    name: ClassVar[str] = "post_local"
    title: ClassVar[str] = "post-local SGD"
    interval: int = whole(8, 1)
    switch: str = choice("drop", "drop", "epochs", "steps")
    after: float = positive(1.0)

    def __post_init__(self) -> None:
        if self.switch == "drop":  # which leaves nothing to be read in the other
            self.after = 1.0

    def last(self, info: RunInfo) -> int:
        """The last step of mini-batch SGD."""
        if self.switch == "drop":
            later = range(2, info.steps + 1)
            drop = (t for t in later if info.lr(t) < info.lr(t - 1))
            return next(drop, info.steps + 1) - 1
        after = self.after * (info.steps_per_epoch if self.switch == "epochs" else 1)
        return round(min(after, info.steps))

    def warning(self, info: RunInfo) -> str:
        last = self.last(info)
        never = "it never switches: this is mini-batch SGD to the end"
        return never if last == info.steps else f"mini-batch SGD until step {last}, then local"

    def begin(self, info: RunInfo, workers: Workers) -> None:
        workers.scalars["last"] = self.last(info)

    def step(self, t: int, lr: float, workers: Workers) -> None:
        local = t - workers.scalars["last"]
        if local <= 0:
            workers.average_gradients()  # G_i <- mean_j G_j
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        if local > 0 and local % self.interval == 0:
            workers.average(self.momentum_at_sync)  # x_i <- mean_j x_j

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        local = t - workers.scalars["last"]
        if local > 0 and local % self.interval:
            workers.average(self.momentum_at_sync)
