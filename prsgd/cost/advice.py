"""Which interval to use: what the network asks for, beside what the theory allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prsgd.cost.network import Costs, predict


@dataclass(frozen=True)
class Advice:
    """The smallest interval that keeps communication under a share, and what the theory allows."""

    interval: int
    theory: float  # Corollary 1's T^(1/4) / N^(3/4), not rounded
    sentence: str


def theory_interval(workers: int, steps: int) -> float:
    """Corollary 1: the largest order of interval that keeps the speed-up linear."""
    return float(steps**0.25 / workers**0.75)


def corollary_interval(workers: int, steps: int) -> int:
    """Corollary 1's interval as a whole number: the largest I with I⁴ N³ ≤ T, and at least 1.

    Whole numbers decide: in floating point N = 4 and T = 5184 give 2.9999 instead of 3.
    """
    interval = round(theory_interval(workers, steps))
    return max(1, interval if interval**4 * workers**3 <= steps else interval - 1)


def needed_interval(costs: Costs, share: float) -> int:
    """The smallest interval at which communication takes at most `share` of the time.

    Where averagings within groups take more, it is longer than any run.
    """
    allowed = costs.step * share / (1 - share)  # seconds of communication in a step
    beside_groups = max(allowed - costs.group * costs.averagings, 1e-18)
    needed = max(costs.round / allowed, (costs.round - costs.group) / beside_groups)
    return max(1, math.ceil(needed - 1e-9))


def recommend(costs: Costs, workers: int, steps: int, share: float) -> Advice:
    """What to do, in one sentence."""
    needed, theory = needed_interval(costs, share), theory_interval(workers, steps)
    at_most = corollary_interval(workers, steps)
    sending = predict(costs, needed, 1).share
    least = predict(costs, steps, 1).share

    def key(interval: int) -> str:
        levels = f"algorithm.levels={{..., {workers}: {interval}}}"
        return levels if costs.averagings else f"interval={interval}"

    if needed > steps and costs.averagings:
        sentence = (
            f"Even a single averaging of all after T = {steps:,} steps leaves communication "
            f"{least:.1%} of the time, as groups average as planned: give their levels larger "
            "intervals."
        )
    elif needed > steps:
        sentence = (
            f"Even algorithm=one_shot, a single averaging after all T = {steps:,} steps, spends "
            f"{least:.1%} of the time on communication: train for longer, or on fewer processes."
        )
    elif needed == 1:
        sentence = (
            f"Use {key(1)} or algorithm=minibatch: communication takes {sending:.1%} of the time "
            "even when every step averages, so a larger interval buys next to nothing."
        )
    elif needed <= at_most:
        sentence = (
            f"Use {key(needed)}: communication falls to {sending:.1%} of the time, and "
            f"Corollary 1 promises linear speed-up up to about I = {theory:.1f}."
        )
    else:
        sentence = (
            f"Try {key(needed)}, which brings communication down to {sending:.1%} of the time, "
            f"beside {key(at_most)}: Corollary 1's guarantee ends at about I = {theory:.1f} "
            f"for N = {workers} and T = {steps:,}, so see whether the loss still follows."
        )
    return Advice(needed, theory, sentence)


def intervals(advice: Advice, steps: int) -> list[int]:
    """1, 2, 4, ... past what is needed and what the theory allows, and the interval needed."""
    last = max(16, 2 * advice.interval, 2 * advice.theory)
    powers = {2**k for k in range(20) if 2**k <= last}
    return sorted(i for i in powers | {advice.interval} if i <= steps)
