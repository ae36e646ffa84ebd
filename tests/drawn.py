"""Batches for tests of rows, which know no run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.tasks.base import Draws

# as settings have it by default
LOCAL_STEP = {"clip": 0.0, "accumulate": 1, "decayed": "all", "gradients": "loop"}


class Drawn(Draws):
    """Classification of batches that a function (worker, draw) -> (images, labels) draws."""

    def __init__(self, draw: Callable[[int, int], tuple[Tensor, Tensor]]) -> None:
        self.draw = draw

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*map(self.draw, workers, draws), strict=True)
        return torch.stack(images), torch.stack(labels)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels)
