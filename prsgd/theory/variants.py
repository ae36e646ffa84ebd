"""Algorithms 2 and 3, on problems whose constants are known."""

from __future__ import annotations

from itertools import product

import numpy as np

from prsgd.algorithms.epochs import PRSGDEpochs
from prsgd.algorithms.heterogeneous import HeterogeneousPRSGD
from prsgd.theory.checks import CheckContext, CheckResult, slope, with_error
from prsgd.theory.problems import Bumps, different_hessians
from prsgd.theory.theorem1 import bound
from prsgd.theory.workers import run

D = 10


def falling(lab: CheckContext) -> list[CheckResult]:
    """Algorithm 2 with the paper's schedule on P1 with identical f_i."""
    problem, start = Bumps(1.0, np.zeros((1, 1, D))), np.ones((lab.copies, D))
    powers = (9, 11, 13) if lab.quick else (11, 13, 15)
    sizes, errors, ratios, data = [], [], [], []
    for workers, power in product((1, 2, 4, 8), powers):
        steps = 2**power
        algorithm = PRSGDEpochs(workers=workers, cap=1 / problem.L)
        trace = lab.run(
            problem, algorithm, start, workers=workers, steps=steps, lr=0.0, seed=power, weigh=True
        )
        sizes.append(workers * steps)
        errors.append(trace.error)
        ratios.append(trace.rounds / (workers * steps) ** 0.75)
        data.append({"N": workers, "T": steps, "error": float(trace.error.mean())})
    found, error = slope(np.array(sizes), np.array(errors))
    return [
        CheckResult(
            "falling",
            "Algorithm 2: the γ-weighted mean of E‖∇f(x̄)‖² is Õ(1/√(NT))",
            f"slope {with_error(found, error)} on log NT, {min(sizes)} to {max(sizes)}",
            found - error >= -0.6 and found + error <= -0.4,
            data,
        ),
        CheckResult(
            "falling_rounds",
            "Algorithm 2: it takes about (NT)^(3/4) rounds",
            f"{min(ratios):.2f} to {max(ratios):.2f} times (NT)^(3/4)",
            min(ratios) >= 0.8 and max(ratios) <= 1.25,
        ),
    ]


def unequal(lab: CheckContext) -> list[CheckResult]:
    """Algorithm 3 on P1 with identical f_i."""
    steps, ratios = lab.steps(2048, 512), []
    start = np.ones((lab.copies, D))
    for local_steps, lr, sigma in product(
        ([8, 8, 4, 2], [4, 4, 2, 1], [1, 1, 1, 8]), (0.02, 0.1, 0.5), (0.5, 2.0)
    ):
        problem = Bumps(sigma, np.zeros((1, 1, D)))
        algorithm = HeterogeneousPRSGD(local_steps=local_steps)
        trace = lab.run(problem, algorithm, start, workers=4, steps=steps, lr=lr)
        gap = float(problem.value(start)[0])
        total = algorithm.batches_drawn(steps, 4) / 4
        limit = bound(gap, lr, total, max(local_steps), problem.g2, problem.L, sigma**2, 4)
        ratios.append(float(trace.error.mean() / limit))
    return [
        CheckResult(
            "unequal",
            "Algorithm 3, identical f_i: Theorem 1 with T → rounds · mean(I_i), I → max(I_i)",
            f"at most {max(ratios):.3f} of the bound in {len(ratios)} settings",
            bool(np.max(ratios) <= 1),
        )
    ]


def unequal_different(lab: CheckContext) -> list[CheckResult]:
    """Algorithm 3 on P2, without noise and with a small step."""
    local_steps, lr, rounds = [8, 8, 4, 2], 2.5e-4, 8000
    problem = different_hessians(4, sigma=0.0, dimension=1)
    weighted = float(problem.optimum(np.array(local_steps)).item())
    plain = float(problem.optimum().item())
    workers, data = lab.workers(problem, np.ones((1, 1)), 4, 0), []
    algorithm = HeterogeneousPRSGD(local_steps=local_steps)
    for chunk in range(25):
        trace = run(workers, algorithm, rounds // 25 * max(local_steps), lr)
        data.append({"round": (chunk + 1) * rounds // 25, "x": float(trace.centre.item())})
    limit = data[-1]["x"]
    apart = abs(weighted - plain)
    off = abs(limit - weighted) / apart
    return [
        CheckResult(
            "unequal_different",
            "Algorithm 3, different f_i: it goes to the optimum of Σ I_i f_i / Σ I_i",
            f"x̄ → {limit:.4f}; that optimum {weighted:.4f} ({off:.1%} of the gap away), "
            f"the plain one {plain:.4f}",
            off <= 0.01,
            [{**row, "weighted": weighted, "plain": plain} for row in data],
        )
    ]
