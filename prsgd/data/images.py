"""A set of images in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prsgd.data.cache import load


@dataclass
class Images:
    """Images (n, size, size, 3) uint8, labels (n,) int64, on one device."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor  # (3,), of the training images' channels, in [0, 1]
    std: Tensor  # (3,), of the same
    classes: int

    @staticmethod
    def of(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Images:
        """Those of a cache file."""
        return Images(**tensors, classes=facts["classes"])

    def normalised(self, images: Tensor) -> Tensor:
        """(b, h, w, 3) uint8 to (b, 3, h, w) float32, stored channels-last."""
        x = images.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)
        return x.permute(0, 3, 1, 2)


def load_images(path: Path, device: torch.device) -> Images:
    """Those of a cache file."""
    return Images.of(*load(path, device))
