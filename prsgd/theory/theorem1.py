"""Theorem 1 and its lemma: no setting lies above the bounds."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.restarted import PRSGD
from prsgd.theory.checks import CheckContext, CheckResult
from prsgd.theory.problems import Bumps, Logistic

D = 10
RATES, SIGMAS, SPREADS = (0.01, 0.05, 0.2, 0.5), (0.5, 2.0), (0.0, 0.7)
INTERVALS, WORKERS, ORDERS = (1, 4, 16, 64), (1, 4, 16), ("restart", "literal")


def bound(
    gap: float | Array,
    lr: float | Array,
    steps: float,
    interval: int,
    g2: float | Array,
    smoothness: float,
    sigma2: float | Array,
    workers: int,
) -> Array:
    """Theorem 1's bound: 2Δ/(γT) + 4γ²I²G²L² + Lγσ²/N, with Δ = `gap`."""
    drift = 4 * np.square(lr) * interval**2 * g2
    return 2 * gap / (lr * steps) + drift * smoothness**2 + smoothness * lr * sigma2 / workers


def check(lab: CheckContext) -> list[CheckResult]:
    """Theorem 1 and the drift lemma, on P1 in 384 settings and on logistic regression in 8."""
    rows = bumps(lab) + logistic(lab)
    error = np.max([row["measured"] / row["bound"] for row in rows])
    drifts = [row["drift"] / row["drift_unit"] for row in rows if row["I"] > 1]
    drift = np.max(drifts)
    return [
        CheckResult(
            "bound",
            "Theorem 1: mean E‖∇f(x̄)‖² ≤ 2Δ/(γT) + 4γ²I²G²L² + Lγσ²/N",
            f"at most {error:.3f} of the bound in {len(rows)} settings",
            bool(error <= 1),
            rows,
        ),
        CheckResult(
            "drift",
            "drift lemma: E‖x̄ − x_i‖² ≤ 4γ²I²G²",
            f"at most {drift:.2f} γ²I²G² in {len(drifts)} settings",
            bool(drift <= 4),
        ),
    ]


def bumps(lab: CheckContext) -> list[dict[str, Any]]:
    """P1. Settings that differ in rate, noise or spread are copies in one run."""
    seeds, steps = (2, 250) if lab.quick else (4, 2000)
    settings = list(product(RATES, SIGMAS, SPREADS))
    lr, sigma, spread = (np.repeat(column, seeds)[:, None] for column in np.array(settings).T)
    start = np.ones((len(lr), D))
    rows: list[dict[str, Any]] = []
    for workers, interval, order in product(WORKERS, INTERVALS, ORDERS):
        centres = np.random.default_rng(7).standard_normal((workers, 1, D))
        problem = Bumps(sigma, spread * centres)
        algorithm = PRSGD(interval, order=order)
        trace = lab.run(problem, algorithm, start, workers=workers, steps=steps, lr=lr)
        error, drift = (v.reshape(-1, seeds).mean(1) for v in (trace.error, trace.drift))
        gap = (problem.value(start) - problem.minimum())[::seeds]
        rate, noise = lr[::seeds, 0], sigma[::seeds, 0]
        g2 = problem.g2[::seeds, 0]
        limit = bound(gap, rate, steps, interval, g2, problem.L, noise**2, workers)
        for i, (gamma, _, _) in enumerate(settings):
            row = {"problem": "P1", "N": workers, "I": interval, "order": order, "lr": gamma}
            row |= {"measured": float(error[i]), "bound": float(limit[i])}
            unit = (gamma * interval) ** 2 * float(g2[i])
            rows.append({**row, "drift": float(drift[i]), "drift_unit": unit})
    return rows


def logistic(lab: CheckContext) -> list[dict[str, Any]]:
    """Logistic regression with different data on every worker and gradients of one sample."""
    rng = np.random.default_rng(3)
    steps = lab.steps(1000, 250)
    truth = rng.standard_normal(D)
    rows: list[dict[str, Any]] = []
    for workers, interval in product((1, 4), (1, 16)):
        a = rng.standard_normal((workers, 50, D)) + rng.standard_normal((workers, 1, D))
        a *= np.sign(a @ truth + 0.5 * rng.standard_normal(a.shape[:2]))[..., None]
        problem = Logistic(a)
        for share in (0.2, 1.0):
            lr = share / problem.L
            start = np.ones((lab.copies, D))
            trace = lab.run(problem, PRSGD(interval), start, workers=workers, steps=steps, lr=lr)
            gap = float(problem.value(start)[0])
            limit = bound(gap, lr, steps, interval, problem.g2, problem.L, problem.sigma2, workers)
            row = {"problem": "logistic", "N": workers, "I": interval, "order": "restart", "lr": lr}
            row |= {"measured": float(trace.error.mean()), "bound": float(limit)}
            unit = (lr * interval) ** 2 * problem.g2
            rows.append({**row, "drift": float(trace.drift.mean()), "drift_unit": unit})
    return rows
