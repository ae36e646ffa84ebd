"""Local optimisers over whole rows: one update for all the workers that a process hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, zeros_like

ALL = slice(None)


class Optimizer(Protocol):
    """One local optimiser for all rows (K, D)."""

    moments: dict[str, Tensor]  # the moments by name, each (K, D); an averaging may send them
    corrections: dict[str, Tensor]  # what they are divided by: (N, 1) of all workers, float64

    def count_step(self, workers: Sequence[int]) -> None:
        """These of all N workers take a step; every process counts alike."""

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        """One step of these rows; `g` is overwritten."""


class OptimizerSettings(Protocol):
    """What a configuration says of the optimiser."""

    optimiser: str
    momentum: float
    nesterov: bool
    betas: list[float]
    eps: float
    weight_decay: float


def build_optimizer(
    settings: OptimizerSettings,
    x: Tensor,
    hosted: range,
    workers: int,
    decayed: Tensor | None = None,
) -> Optimizer:
    """The optimiser that a run asks for, for rows x (K, D) of the `hosted` of N `workers`.

    `decayed` (D,) is 1 where weights decay and 0 elsewhere; without it all do.
    """
    decay: float | Tensor = settings.weight_decay
    if decay and decayed is not None:
        decay = decayed * decay
    if settings.optimiser == "adamw":
        return AdamW(x, settings.betas, settings.eps, decay, hosted, workers)
    return SGD(x, settings.momentum, settings.nesterov, decay)


def _decays(weight_decay: float | Tensor) -> bool:
    return isinstance(weight_decay, Tensor) or bool(weight_decay)


class SGD:
    """torch.optim.SGD's rule.

    g <- g + weight_decay x;  m <- momentum m + g;  x <- x - lr (m, or g + momentum m by Nesterov).
    """

    def __init__(
        self, x: Tensor, momentum: float, nesterov: bool, weight_decay: float | Tensor
    ) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.moments = {"m": zeros_like(x)} if momentum else {}
        self.corrections: dict[str, Tensor] = {}

    def count_step(self, workers: Sequence[int]) -> None:
        pass

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        x, g = x[rows], g[rows]
        if isinstance(self.weight_decay, Tensor):
            g.addcmul_(x, self.weight_decay)
        elif self.weight_decay:
            g.add_(x, alpha=self.weight_decay)
        if not self.moments:
            x.add_(g, alpha=-lr)
            return
        m = self.moments["m"][rows].mul_(self.momentum).add_(g)
        x.add_(g.add_(m, alpha=self.momentum) if self.nesterov else m, alpha=-lr)


class AdamW:
    """torch.optim.AdamW's rule, whose moments may be averaged over workers.

    x <- x - lr weight_decay x;  m <- β₁ m + (1 - β₁) g;  v <- β₂ v + (1 - β₂) g²;
    x <- x - lr (m / c₁) / (sqrt(v / c₂) + eps).

    The corrections c₁ and c₂ are the same moving averages of ones: 1 - β₁^k and 1 - β₂^k after k
    steps. An averaging of the moments averages them too, as workers may differ in k.
    """

    def __init__(
        self,
        x: Tensor,
        betas: list[float],
        eps: float,
        weight_decay: float | Tensor,
        hosted: range,
        workers: int,
    ) -> None:
        self.betas = dict(zip(("m", "v"), betas, strict=True))
        self.eps = eps
        self.weight_decay = weight_decay
        self.moments = {"m": zeros_like(x), "v": zeros_like(x)}
        zeros = torch.zeros(workers, 1, dtype=torch.float64, device=x.device)
        self.corrections = {name: zeros.clone() for name in self.moments}
        self.hosted = slice(hosted.start, hosted.stop)

    def count_step(self, workers: Sequence[int]) -> None:
        for name, c in self.corrections.items():
            beta = self.betas[name]
            if len(workers) == len(c):  # without an index, which would be copied to the device
                c.mul_(beta).add_(1 - beta)
            else:
                c[[*workers]] = beta * c[[*workers]] + (1 - beta)

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        x, g = x[rows], g[rows]
        beta1, beta2 = self.betas.values()
        c1, c2 = (c[self.hosted][rows] for c in self.corrections.values())
        m = self.moments["m"][rows].lerp_(g, 1 - beta1)
        v = self.moments["v"][rows].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        if _decays(self.weight_decay):
            x.mul_(1 - lr * self.weight_decay)
        torch.sqrt(v, out=g).div_(c2.sqrt().to(g)).add_(self.eps)
        torch.div(m, g, out=g).mul_((lr / c1).to(g))
        x.sub_(g)
