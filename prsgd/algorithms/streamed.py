"""Rounds in fragments, each sent at a step of its own, whose means may arrive late.

diloco is Streaming DiLoCo (2501.18512) then, or delayed DiLoCo (2502.12996) in one fragment; prsgd
with delay = I and merge=progress is CoCoD-SGD (1906.12043). The papers' texts were not at hand.
"""

from dataclasses import dataclass

from prsgd.algorithms.interface import Workers
from prsgd.algorithms.late import Late
from prsgd.fields import whole

IN_PARTS = {"fragments": 1, "delay": 0, "merge": 0}  # what rounds are that are waited for, at once
OF_SOME = {"participation": 1.0, "groups": None}  # what they are where all take part, and only they
PLAIN = IN_PARTS | OF_SOME


@dataclass
class Streamed(Late):
    """Fragment f = 1..F of x is sent at t ≡ ceil(f I / F) (mod I)."""

    fragments: int = whole(1, 1, kw_only=True)

    def step(self, t: int, lr: float, workers: Workers) -> None:
        workers.optimizer_step(lr)  # x_i <- x_i - lr * G_i
        self.exchange(t, lr, workers)

    def exchange(self, t: int, lr: float, workers: Workers) -> None:
        """Use the means that are due in step t, and send what is."""
        for f, rows in enumerate(workers.fragments(self.fragments), 1):
            rows.scalars["lr_sum"] = rows.scalars.get("lr_sum", 0.0) + lr
            if self.delay and t > self.delay and self.since(f, t - self.delay) == 0:
                self.arrive(rows)
            if self.since(f, t) == 0 and self.delay:
                self.depart(lr, rows)
            elif self.since(f, t) == 0:
                self.communicate(lr, rows)
        self.average_groups(t, workers)

    def finish(self, t: int, lr: float, workers: Workers) -> None:
        fragments = workers.fragments(self.fragments)
        ages = [self.since(f, t) for f in range(1, self.fragments + 1)]
        for rows, since in zip(fragments, ages, strict=True):
            if since < min(t, self.delay):
                self.arrive(rows)
        for rows, since in zip(fragments, ages, strict=True):
            are_together = self.merge == 0 and since < t and since <= self.delay
            if since and not are_together:
                self.communicate(lr, rows)

    def since(self, f: int, t: int) -> int:
        """The steps up to t since fragment f was due."""
        return (t + -f * self.interval // self.fragments) % self.interval
