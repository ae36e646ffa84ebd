"""Batches of images: those that an order draws, augmented and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prsgd.data.images import Images
from prsgd.data.order import Order
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
        index = torch.from_numpy(np.concatenate([self.order.indices(*one) for one in drawn]))
        index = index.to(device)
        images = self.images.train_images[index]
        if self.crop or self.flip:
            seed = self.order.seed
            rngs = [generator(Purpose.AUGMENTATION, seed, *one) for one in drawn]
            images = augmented(images, self.crop, self.flip, rngs)
        images = self.images.normalised(images)
        return images.view(-1, b, *images.shape[1:]), self.images.train_labels[index].view(-1, b)


def augmented(images: Tensor, crop: int, flip: bool, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Random crops out of images padded by `crop` black pixels, half of them mirrored with `flip`.

    (n, h, w, 3) to the same shape, by indexing. Each generator draws for an equal share of them.
    """
    n, h, w, _ = images.shape
    rows, columns = zip(
        *(_cuts(rng, n // len(rngs), h, w, crop, flip) for rng in rngs), strict=True
    )
    padded = torch.nn.functional.pad(images, (0, 0, crop, crop, crop, crop))
    device = images.device
    return padded[
        torch.arange(n, device=device)[:, None, None],
        torch.from_numpy(np.concatenate(rows)).to(device)[:, :, None],
        torch.from_numpy(np.concatenate(columns)).to(device)[:, None, :],
    ]


def _cuts(
    rng: np.random.Generator, b: int, h: int, w: int, crop: int, flip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The rows (b, h) and columns (b, w) that make the crops."""
    rows = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(h)
    columns = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(w)
    mirrored = rng.random(b) < 0.5
    if flip:
        columns[mirrored] = columns[mirrored, ::-1]
    return rows, columns
