"""Workers on a problem with known constants: `algorithms/` runs on them unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Part, RunInfo
from prsgd.algorithms.rows import Rows
from prsgd.theory.problems import Problem

Rate = float | Array  # γ: a number, or (S, 1) with one per copy


class ProblemWorkers:
    """Satisfies `algorithms.interface.Workers` for S independent copies at once; SGD, float64.

    The noise is a function of the seed and t, so two algorithms can be given the same.
    """

    def __init__(
        self, problem: Problem, start: Array, workers: int, seed: int, momentum: float = 0.0
    ) -> None:
        """`start` is x̄⁰, (S, d)."""
        self.problem = problem
        self.x = np.repeat(start[None], workers, 0)
        self.g = np.zeros_like(self.x)
        self.m = np.zeros_like(self.x)
        self.momentum = momentum
        self.rng = np.random.default_rng(seed)
        self.rounds = 0
        self.count = workers
        self.computing: Sequence[int] = range(workers)
        self.scalars: dict[str, float] = {}
        self._per_worker: dict[str, Array] = {}
        self._replicated: dict[str, Array] = {}
        self.drift = np.zeros(len(start))  # (S,), mean_i |x_i - x̄|² before the last round

    def compute_gradients(self, active: Sequence[int] | None) -> None:
        """G_i at x_i of the active workers, and 0 of the others."""
        self.seen = self.x.copy()
        self.g = self.problem.sample(self.x, self.rng)
        self.computing = range(self.count) if active is None else active
        self.g[np.setdiff1d(np.arange(self.count), self.computing)] = 0

    def optimizer_step(self, lr: Rate) -> None:
        own = [*self.computing]
        if self.momentum:
            self.m[own] = self.momentum * self.m[own] + self.g[own]
        self.x[own] -= lr * (self.m if self.momentum else self.g)[own]

    def own(self, numbers: Sequence[float]) -> Array:
        return np.array(numbers)[:, None, None]

    def mean(self, *parts: Part, among: Sequence[int] | None = None) -> list[Array]:
        self._close_round()
        return [part.rows[slice(None) if among is None else [*among]].mean(0) for part in parts]

    def start_mean(self, delay: int, *parts: Part) -> None:
        self._late = self.mean(*parts)

    def finish_mean(self) -> list[Array]:
        return self._late

    def fragments(self, count: int) -> Sequence[Rows]:
        """The whole, as these problems have no parameters to cut between."""
        if count > 1:
            raise ValueError(f"{count} fragments of a problem that has none")
        return [self]

    def restart(self, x: Array) -> None:
        self.x[:] = x

    def moments(self, at_sync: str) -> list[Part]:
        return [Part(self.m, "mean")] if self.momentum and at_sync == "average" else []

    def set_moments(self, at_sync: str, means: list[Array]) -> None:
        if at_sync == "reset":
            self.m[:] = 0
        for mean in means:
            self.m[:] = mean

    def average(self, at_sync: str, group: int | None = None) -> None:
        if group in (None, len(self.x)):
            mean, *means = self.mean(Part(self.x), *self.moments(at_sync))
            self.restart(mean)
            self.set_moments(at_sync, means)
            return
        for rows in (self.x, *(part.rows for part in self.moments(at_sync))):
            for part in np.split(rows, len(rows) // group):
                part[:] = part.mean(0)
        self.set_moments("reset" if at_sync == "reset" else "keep", [])

    def average_gradients(self) -> None:
        [self.g[:]] = self.mean(Part(self.g, "zero"))

    def _close_round(self) -> None:
        self.drift = np.square(self.x - self.x.mean(0)).sum(-1).mean(0)
        self.rounds += 1

    def mean_loss(self) -> float:
        """The mean over workers and copies of the loss where the gradients were computed."""
        return float(self.problem.losses(self.seen).mean())

    def per_worker(self, name: str) -> Array:
        if name not in self._per_worker:
            self._per_worker[name] = np.zeros_like(self.x)
        return self._per_worker[name]

    def replicated(self, name: str) -> Array:
        if name not in self._replicated:
            self._replicated[name] = np.zeros_like(self.x[0])
        return self._replicated[name]


@dataclass
class Trace:
    """What a run measured on its way, for each of the S copies."""

    error: Array  # the mean over t of |∇f(x̄^{t-1})|², weighted
    drift: Array  # the largest mean_i |x_i - x̄|²
    rounds: int
    centre: Array


def run(
    workers: ProblemWorkers,
    algorithm: Algorithm,
    steps: int,
    lr: Rate,
    weigh: bool = False,
) -> Trace:
    """Run T = `steps` steps. The error is a mean over steps, weighted by γ with `weigh`."""
    info = RunInfo(len(workers.x), steps, steps, lambda t: lr)  # type: ignore[arg-type,return-value]
    algorithm.begin(info, workers)
    total, weights = np.zeros(workers.x.shape[1]), 0.0
    drift = np.zeros_like(total)
    for t in range(1, steps + 1):
        active = algorithm.active(t, info)
        rate = algorithm.lr(t, lr)  # type: ignore[arg-type]
        share = 1.0 if active is None else len(active) / len(workers.x)
        weight = share * (float(np.max(rate)) if weigh else 1.0)
        slope = workers.problem.gradient(workers.x.mean(0))
        total += weight * np.einsum("sd,sd->s", slope, slope)
        weights += weight
        workers.compute_gradients(active)
        algorithm.step(t, rate, workers)
        np.maximum(drift, workers.drift, out=drift)
    algorithm.finish(steps, rate, workers)
    centre = algorithm.eval_params(workers)
    return Trace(
        total / weights, drift, workers.rounds, workers.x.mean(0) if centre is None else centre
    )
