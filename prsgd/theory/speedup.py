"""Corollary 1: linear speed-up at its interval, what that costs, and where it breaks down."""

from __future__ import annotations

from itertools import product

import numpy as np

from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.restarted import PRSGD
from prsgd.cost.counter import CommCounter
from prsgd.theory.checks import CheckContext, CheckResult, corollary, slope, with_error
from prsgd.theory.problems import Bumps, different_hessians

D = 10


def linear(lab: CheckContext) -> list[CheckResult]:
    """The speed-up on P1 with identical f_i, so that f is the same for every N."""
    counts, steps = np.array([1, 2, 4, 8, 16]), lab.steps(2**14, 2**12)
    problem, start = Bumps(1.0, np.zeros((1, 1, D))), np.ones((lab.copies, D))
    errors = []
    for workers in counts:
        lr, interval = corollary(workers, steps, problem.L)
        errors.append(
            lab.run(
                problem, PRSGD(interval), start, workers=workers, steps=steps, lr=lr, seed=workers
            ).error
        )
    found, error = slope(counts, np.array(errors))
    data = [
        {"N": int(n), "copy": c, "error": float(e)}
        for n, copies in zip(counts, errors, strict=True)
        for c, e in enumerate(copies)
    ]
    return [
        CheckResult(
            "speedup",
            "Corollary 1: linear speed-up at I = T^(1/4)/N^(3/4): log error falls by −1/2 on log N",
            f"slope {with_error(found, error)} over N = 1..16, T = {steps}",
            abs(found + 0.5) <= 0.03,
            data,
        )
    ]


def rounds(lab: CheckContext) -> list[CheckResult]:
    """The rounds at N and T for which the corollary's interval is a whole number."""
    ratios = []
    powers = (12, 16) if lab.quick else (12, 16, 20)
    for workers, power in product((1, 16), powers):
        steps = 2**power
        counter = CommCounter([1], int(workers))
        algorithm = PRSGD(corollary(workers, steps, 1.0)[1])
        counter.run(algorithm, RunInfo(workers, steps, steps, lambda t: 1.0))
        ratios.append(counter.rounds / (workers * steps) ** 0.75)
    return [
        CheckResult(
            "rounds",
            "Corollary 1: that takes O((NT)^(3/4)) rounds",
            f"{min(ratios):.3f} to {max(ratios):.3f} times (NT)^(3/4), T up to {steps}",
            min(ratios) >= 0.99 and max(ratios) <= 1.01,
        )
    ]


def breakdown(lab: CheckContext) -> list[CheckResult]:
    """The speed-up on P2, whose f_i differ: a fixed large interval turns it into a slow-down."""
    counts, steps = np.array([2, 4, 8, 16]), lab.steps(2**14, 2**12)
    intervals = (None, 1, 16, 64, 256)
    slopes, data = {}, []
    for interval in intervals:
        errors = []
        for workers in counts:
            problem = different_hessians(workers, sigma=3.0)
            lr, own = corollary(workers, steps, problem.L)
            algorithm = PRSGD(interval or own)
            start = np.repeat(problem.optimum() + 0.5, lab.copies // 2, 0)
            trace = lab.run(
                problem, algorithm, start, workers=workers, steps=steps, lr=lr, seed=workers
            )
            errors.append(trace.error)
            data.append({"N": int(workers), "I": interval or 0, "error": float(trace.error.mean())})
        slopes[interval] = slope(counts, np.array(errors))
    kept = all(abs(slopes[i][0] + 0.5) <= 0.05 for i in (None, 1))
    lost = all(slopes[i][0] - slopes[i][1] > 0 for i in (64, 256))
    between = slopes[1][0] < slopes[16][0] < slopes[64][0] < slopes[256][0]
    told = ", ".join(f"{i or 'T^¼/N^¾'}: {with_error(*s)}" for i, s in slopes.items())
    return [
        CheckResult(
            "breakdown",
            "different f_i: the speed-up is lost at too large intervals",
            f"slope at I = {told}",
            kept and lost and between,
            data,
        )
    ]
