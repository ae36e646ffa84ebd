"""Batches of images: those that an order draws, augmented and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prsgd.data.images import Images
from prsgd.data.order import Order
from prsgd.data.transfer import on_device
from prsgd.rng import Purpose, generator


class Batches:
    """Draws of images in the order that `order` gives."""

    def __init__(self, images: Images, order: Order, crop: int, flip: bool) -> None:
        self.images = images
        self.order = order
        self.crop = crop
        self.flip = flip

    def draw(self, worker: int, draw: int) -> tuple[Tensor, Tensor]:
        """(b, 3, h, w) float32 images, augmented and normalised, and (b,) labels."""
        images, labels = self.draws([worker], [draw])
        return images[0], labels[0]

    def draws(self, workers: Sequence[int], draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The same of several workers, (K, b, ...), gathered at once."""
        device, b = self.images.train_images.device, self.order.batch_size
        drawn = list(zip(workers, draws, strict=True))
        picked = [np.concatenate([self.order.indices(*one) for one in drawn])]
        if self.crop or self.flip:
            h, w = self.images.train_images.shape[1:3]
            rngs = [generator(Purpose.AUGMENTATION, self.order.seed, *one) for one in drawn]
            drawn_cuts = [cuts(rng, b, h, w, self.crop, self.flip) for rng in rngs]
            picked += map(np.concatenate, zip(*drawn_cuts, strict=True))
        index, *cut = on_device(device, *picked)
        images = self.images.train_images[index]
        if cut:
            images = cropped(images, self.crop, *cut)
        images = self.images.normalised(images)
        return images.view(-1, b, *images.shape[1:]), self.images.train_labels[index].view(-1, b)


def cropped(images: Tensor, crop: int, rows: Tensor, columns: Tensor) -> Tensor:
    """The rows (n, h) and the columns (n, w) of images (n, h, w, 3) padded by `crop` pixels."""
    padded = torch.nn.functional.pad(images, (0, 0, crop, crop, crop, crop))
    each = torch.arange(len(images), device=images.device)
    return padded[each[:, None, None], rows[:, :, None], columns[:, None, :]]


def cuts(
    rng: np.random.Generator, b: int, h: int, w: int, crop: int, flip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The rows (b, h) and columns (b, w) of random crops, half of them mirrored with `flip`."""
    rows = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(h)
    columns = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(w)
    mirrored = rng.random(b) < 0.5
    if flip:
        columns[mirrored] = columns[mirrored, ::-1]
    return rows, columns
