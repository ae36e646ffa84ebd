"""The learning rate as a pure function of t: it needs no state, and a run may begin anywhere."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from prsgd.fields import fraction, key


@dataclass
class Schedule(ABC):
    """lr(t) = lr * (floor + (1 - floor) * decay(progress)) * min(1, t / (warmup * T)), t = 1..T."""

    warmup: float = fraction(0.0, one=False)
    floor: float = fraction(0.0, one=True)

    @abstractmethod
    def decay(self, progress: float) -> float:
        """The factor at `progress`, the share of the run that lies before this step, in [0, 1)."""

    def lr(self, t: int, steps: int, lr: float) -> float:
        """The learning rate of step t of `steps`, from the configured `lr`."""
        rise = min(1.0, t / (self.warmup * steps)) if self.warmup else 1.0
        return lr * rise * (self.floor + (1 - self.floor) * self.decay((t - 1) / steps))


@dataclass
class Constant(Schedule):
    """The same rate throughout."""

    def decay(self, progress: float) -> float:
        return 1.0


@dataclass
class StepDrops(Schedule):
    """The rate is multiplied by `factor` at each of the fractions `at` of the run."""

    at: list[float] = key(
        [0.5, 0.75], "fractions of the run, between 0 and 1", lambda v: _within(v)
    )
    factor: float = key(0.1, "a number above 0, and at most 1", lambda v: 0 < v <= 1)

    def decay(self, progress: float) -> float:
        return self.factor ** sum(progress >= drop for drop in self.at)


@dataclass
class Cosine(Schedule):
    """From the configured rate down to the floor along half a cosine."""

    def decay(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


@dataclass
class WSD(Schedule):
    """The configured rate, and at the end a straight line down to the floor."""

    cooldown: float = fraction(0.2, one=True)

    def decay(self, progress: float) -> float:
        left = 1 - progress
        return left / self.cooldown if left < self.cooldown else 1.0


def _within(fractions: list[float]) -> bool:
    return all(0 < f < 1 for f in fractions)
