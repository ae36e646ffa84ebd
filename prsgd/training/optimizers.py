"""Local optimisers over whole rows: one update for all the workers that a process hosts."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, zeros_like

ALL = slice(None)


class Optimizer(Protocol):
    """One local optimiser for all rows (K, D)."""

    moments: dict[str, Tensor]  # the moments by name, each (K, D); an averaging may send them

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        """One step of these rows; `g` is overwritten."""

    def state_tensors(self) -> dict[str, Tensor]:
        """All that outlives a step, by name, each (K, ...)."""


class OptimizerSettings(Protocol):
    """What a configuration says of the optimiser."""

    optimiser: str
    momentum: float
    nesterov: bool
    betas: list[float]
    eps: float
    weight_decay: float


def build_optimizer(settings: OptimizerSettings, x: Tensor) -> Optimizer:
    """The optimiser that a run asks for, for rows x (K, D)."""
    if settings.optimiser == "adamw":
        return AdamW(x, settings.betas, settings.eps, settings.weight_decay)
    return SGD(x, settings.momentum, settings.nesterov, settings.weight_decay)


class SGD:
    """torch.optim.SGD's rule.

    g <- g + weight_decay x;  m <- momentum m + g;  x <- x - lr (m, or g + momentum m by Nesterov).
    """

    def __init__(self, x: Tensor, momentum: float, nesterov: bool, weight_decay: float) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.moments = {"m": zeros_like(x)} if momentum else {}

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        x, g = x[rows], g[rows]
        if self.weight_decay:
            g.add_(x, alpha=self.weight_decay)
        if not self.moments:
            x.add_(g, alpha=-lr)
            return
        m = self.moments["m"][rows].mul_(self.momentum).add_(g)
        x.add_(g.add_(m, alpha=self.momentum) if self.nesterov else m, alpha=-lr)

    def state_tensors(self) -> dict[str, Tensor]:
        return self.moments


class AdamW:
    """torch.optim.AdamW's rule; each worker counts its own steps k.

    x <- x - lr weight_decay x;  m <- β₁ m + (1 - β₁) g;  v <- β₂ v + (1 - β₂) g²;
    x <- x - lr (m / (1 - β₁^k)) / (sqrt(v / (1 - β₂^k)) + eps).
    """

    def __init__(self, x: Tensor, betas: list[float], eps: float, weight_decay: float) -> None:
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.moments = {"m": zeros_like(x), "v": zeros_like(x)}
        self.k = torch.zeros(len(x), 1, dtype=torch.float64, device=x.device)

    def step(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        x, g = x[rows], g[rows]
        beta1, beta2 = self.betas
        k = self.k[rows].add_(1)
        m = self.moments["m"][rows].lerp_(g, 1 - beta1)
        v = self.moments["v"][rows].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        if self.weight_decay:
            x.mul_(1 - lr * self.weight_decay)
        torch.sqrt(v, out=g).div_((1 - beta2**k).sqrt().to(g)).add_(self.eps)
        torch.div(m, g, out=g).mul_((lr / (1 - beta1**k)).to(g))
        x.sub_(g)

    def state_tensors(self) -> dict[str, Tensor]:
        return {**self.moments, "k": self.k}
