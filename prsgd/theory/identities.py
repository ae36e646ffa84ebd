"""Statements that hold exactly, to the rounding of float64."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.minibatch import MiniBatchSGD
from prsgd.algorithms.restarted import PRSGD
from prsgd.theory.checks import CheckContext, CheckResult
from prsgd.theory.problems import Bumps, Problem, different_hessians, equal_hessians

N, D, EXACT = 4, 10, 1e-12


def minibatch(lab: CheckContext) -> list[CheckResult]:
    """I = 1 against mini-batch SGD, on P1 with different f_i and with the same noise."""
    problem = Bumps(1.0, np.random.default_rng(1).standard_normal((N, 1, D)))
    base = _centre(lab, problem, MiniBatchSGD())
    gap = float(np.abs(_centre(lab, problem, PRSGD(1)) - base).max())
    other = float(np.abs(_centre(lab, problem, PRSGD(1, order="literal")) - base).max())
    return [
        CheckResult(
            "minibatch",
            "I = 1 is parallel mini-batch SGD (order: restart)",
            f"largest difference of x̄ {gap:.1g}; with order: literal {other:.1g}",
            gap <= EXACT and other > 1e-3,
        )
    ]


def fixed_point(lab: CheckContext) -> list[CheckResult]:
    """Where PR-SGD stands still on P2 without noise, against the closed form."""
    problem, lr, gaps = different_hessians(N, sigma=0.0), 0.1, []
    for interval in (1, 4, 16):
        expected = problem.fixed_point(lr, np.full(N, interval))
        found = _centre(lab, problem, PRSGD(interval), steps=1600, lr=lr)
        gaps.append(float(np.abs(found - expected).max()))
    away = float(np.abs(problem.fixed_point(lr, np.full(N, 16)) - problem.optimum()).max())
    return [
        CheckResult(
            "fixed_point",
            "quadratic f_i: restarts stand still where Σ_i [1 − (1 − γh_i)^I](x − b_i) = 0",
            f"largest distance {max(gaps):.1g} for I = 1, 4, 16; the optimum is {away:.2f} away",
            bool(np.max(gaps) <= EXACT),
        )
    ]


def control(lab: CheckContext) -> list[CheckResult]:
    """The negative control: with equal Hessians the interval changes nothing in x̄."""
    problem = equal_hessians(N, sigma=1.0)
    base = _centre(lab, problem, PRSGD(1))
    gaps = [float(np.abs(_centre(lab, problem, PRSGD(i)) - base).max()) for i in (16, 256)]
    return [
        CheckResult(
            "control",
            "equal Hessians, different optima: x̄ does not depend on I",
            f"largest difference {max(gaps):.1g} between I = 1, 16 and 256",
            bool(np.max(gaps) <= EXACT),
        )
    ]


def _centre(
    lab: CheckContext, problem: Problem, algorithm: Algorithm, steps: int = 512, lr: float = 0.05
) -> Array:
    return lab.run(problem, algorithm, np.ones((2, D)), workers=N, steps=steps, lr=lr).centre
