"""Which of several curves reaches a loss first, and how sure that is. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean


@dataclass(frozen=True)
class Reached:
    """When the runs of a curve, one for each seed, reach a loss; NaN where one never does."""

    label: str
    seconds: list[float]
    megabytes: float  # sent by a worker until then

    @property
    def mean(self) -> float:
        """Infinite unless all do."""
        return float("inf") if any(map(isnan, self.seconds)) else fmean(self.seconds)

    @property
    def many(self) -> int:
        """The runs that reach it."""
        return sum(not isnan(s) for s in self.seconds)


def ranked(curves: Sequence[Reached]) -> list[Reached]:
    """The fastest first; those that do not reach the loss with every seed are last."""
    return sorted(curves, key=lambda curve: (curve.mean, -curve.many))


def verdict(curves: Sequence[Reached], loss: float) -> str:
    """What to do, in one sentence, with what speaks for it."""
    first, *others = ranked(curves)
    if first.mean == float("inf"):
        return f"No curve reaches the training loss {loss:g} with every seed: ask for a higher one."
    if not first.mean:
        return f"The training loss {loss:g} is there before the first step: ask for a lower one."
    found = f"{first.label} reaches the training loss {loss:g} first"
    others = [curve for curve in others if curve.mean < float("inf")]
    if not others:
        return f"{found}, and no other curve does with every seed."
    second = others[0]
    pairs = [(a, b) for a in first.seconds for b in second.seconds]
    won = sum(a < b for a, b in pairs)
    times = second.mean / first.mean
    text = f"{found}, {times:.2f} times as fast as the next, {second.label}"
    if len(pairs) == 1:
        return f"{text}. There is one seed of each, so nobody knows how sure that is."
    return f"{text}, and it is faster in {won} of {len(pairs)} pairs of seeds."
