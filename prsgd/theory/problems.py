"""Problems f = (1/N) sum_i f_i whose L, G², σ² and f* are known.

Shapes: N workers, S independent copies (seeds and settings), d coordinates. Points x_i are
(N, S, d), the centre x̄ is (S, d). Data of a problem broadcast against (N, S, d).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

Noise = float | Array  # σ of a worker's gradient: a number, or (S, 1) with one per copy


class Problem(ABC):
    """What `ProblemWorkers` needs to know of f."""

    @abstractmethod
    def gradients(self, x: Array) -> Array:
        """∇f_i(x_i), (N, S, d)."""

    @abstractmethod
    def gradient(self, centre: Array) -> Array:
        """∇f(x̄), (S, d)."""

    @abstractmethod
    def losses(self, x: Array) -> Array:
        """f_i(x_i), (N, S)."""

    @abstractmethod
    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        """Stochastic gradients G_i at x_i, (N, S, d)."""


@dataclass
class Noisy(Problem):
    """Exact gradients plus noise that is uniform on the sphere of radius σ."""

    sigma: Noise

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        g = self.gradients(x)
        if np.any(self.sigma):
            z = rng.standard_normal(x.shape)
            z *= self.sigma / np.sqrt(np.einsum("nsd,nsd->ns", z, z))[..., None]
            g += z
        return g


@dataclass
class Bumps(Noisy):
    """P1: f_i(x) = sum_j φ(x_j - b_ij), φ(u) = u²/(1+u²). L = 2, |φ'| <= 3√3/8.

    Non-convex with bounded gradients. `b` is (N, S or 1, d), or (1, 1, d) for identical f_i.
    """

    b: Array
    L = 2.0

    @property
    def g2(self) -> Array:
        """G² = 27 d / 64 + σ², of the shape of σ."""
        g2: Array = 27 * self.b.shape[-1] / 64 + np.square(self.sigma)
        return g2

    def gradients(self, x: Array) -> Array:
        u = x - self.b
        g: Array = 2 * u / np.square(1 + u * u)
        return g

    def gradient(self, centre: Array) -> Array:
        g: Array = self.gradients(centre[None]).mean(0)
        return g

    def losses(self, x: Array) -> Array:
        u = np.square(x - self.b)
        f: Array = (u / (1 + u)).sum(-1)
        return f

    def value(self, centre: Array) -> Array:
        """f, (S,)."""
        f: Array = self.losses(centre[None]).mean(0)
        return f

    def minimum(self) -> Array:
        """f*, (S or 1,): f is separable, so each coordinate is searched on a grid of its own."""
        low, high = self.b.min(0), self.b.max(0)
        least = np.full(low.shape, np.inf)
        for share in np.linspace(0, 1, 2001):  # every minimum lies between the outermost b_ij
            u = np.square(low + share * (high - low) - self.b)
            np.minimum(least, (u / (1 + u)).mean(0), out=least)
        best: Array = least.sum(-1)
        return best


@dataclass
class Quadratics(Noisy):
    """P2: f_i(x) = sum_j h_ij (x_j - b_ij)² / 2; `h` and `b` are (N, 1, d)."""

    h: Array
    b: Array

    @property
    def L(self) -> float:
        return float(self.h.max())

    def gradients(self, x: Array) -> Array:
        g: Array = self.h * (x - self.b)
        return g

    def gradient(self, centre: Array) -> Array:
        g: Array = self.h.mean(0) * (centre - self.optimum())
        return g

    def losses(self, x: Array) -> Array:
        f: Array = (self.h * np.square(x - self.b)).sum(-1) / 2
        return f

    def optimum(self, weights: Array | None = None) -> Array:
        """Of sum_i w_i f_i, (1, d); the weights are 1 unless given."""
        w = np.ones(len(self.h)) if weights is None else weights
        hessians = w[:, None, None] * self.h
        x: Array = (hessians * self.b).sum(0) / hessians.sum(0)
        return x

    def fixed_point(self, lr: float, steps: Array) -> Array:
        """Where rounds of I_i noiseless local steps stand still, (1, d):

        sum_i [1 - (1 - γ h_i)^{I_i}] (x - b_i) = 0, per coordinate.
        """
        pull = 1 - (1 - lr * self.h) ** steps[:, None, None]
        x: Array = (pull * self.b).sum(0) / pull.sum(0)
        return x


@dataclass
class Logistic(Problem):
    """Logistic regression with a bounded, non-convex regulariser; one sample per gradient.

    f_i(x) = mean_k log(1 + exp(-a_ik·x)) + λ sum_j x_j²/(1+x_j²); `a`, labels multiplied in, is
    (N, m, d). f >= 0, so Δ <= f(x⁰).
    """

    a: Array
    weight: float = 0.05

    @property
    def L(self) -> float:
        curvature = [np.linalg.norm(a, 2) ** 2 / (4 * len(a)) for a in self.a]
        return float(max(curvature)) + 2 * self.weight

    @property
    def g2(self) -> float:
        """A bound on every |G_i|²."""
        d = self.a.shape[-1]
        longest = np.linalg.norm(self.a, axis=2).max()
        return float((longest + self.weight * np.sqrt(27 * d / 64)) ** 2)

    @property
    def sigma2(self) -> float:
        """A bound on every E|G_i - ∇f_i|²: samples' gradients are no longer than their a."""
        return float(np.square(self.a).sum(2).mean(1).max())

    def _regulariser(self, x: Array) -> Array:
        g: Array = 2 * self.weight * x / np.square(1 + x * x)
        return g

    def gradients(self, x: Array) -> Array:
        margin = np.einsum("nmd,nsd->nsm", self.a, x)
        pull = -1 / (1 + np.exp(margin)) / self.a.shape[1]
        g: Array = np.einsum("nsm,nmd->nsd", pull, self.a) + self._regulariser(x)
        return g

    def gradient(self, centre: Array) -> Array:
        everywhere = np.broadcast_to(centre, (len(self.a), *centre.shape))
        g: Array = self.gradients(everywhere).mean(0)
        return g

    def losses(self, x: Array) -> Array:
        loss = np.logaddexp(0, -np.einsum("nmd,nsd->nsm", self.a, x)).mean(2)
        u = np.square(x)
        f: Array = loss + self.weight * (u / (1 + u)).sum(-1)
        return f

    def value(self, centre: Array) -> Array:
        """f, (S,)."""
        everywhere = np.broadcast_to(centre, (len(self.a), *centre.shape))
        f: Array = self.losses(everywhere).mean(0)
        return f

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        n, copies, _ = x.shape
        picked = rng.integers(0, self.a.shape[1], (n, copies))
        a = np.take_along_axis(self.a, picked[..., None], 1)
        g: Array = -a / (1 + np.exp((a * x).sum(-1, keepdims=True))) + self._regulariser(x)
        return g


def alternating(workers: int, even: float, odd: float, dimension: int) -> Array:
    """(N, 1, d): half the workers have one value, half the other."""
    values = np.where(np.arange(workers) % 2 == 0, even, odd)
    return np.broadcast_to(values[:, None, None], (workers, 1, dimension)).copy()


def different_hessians(workers: int, sigma: Noise, dimension: int = 10) -> Quadratics:
    """P2 whose f_i have different Hessians: at large intervals the speed-up breaks down."""
    h = alternating(workers, 2.0, 0.2, dimension)
    return Quadratics(sigma, h, alternating(workers, 0.5, -0.5, dimension))


def equal_hessians(workers: int, sigma: Noise, dimension: int = 10) -> Quadratics:
    """The negative control: different optima, but x̄ does not depend on the interval."""
    h = np.ones((workers, 1, dimension))
    return Quadratics(sigma, h, alternating(workers, 0.5, -0.5, dimension))
