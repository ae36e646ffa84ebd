"""The batch that worker i draws as its k-th: a pure function of (seed, i, k)."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from prsgd.data.cache import Images
from prsgd.rng import Purpose, generator


class Batches:
    """Draws of b = `batch_size` images from each worker's shard, or from all n images.

    Without shards one permutation of all images after another is dealt to the workers, batch by
    batch; with shards each worker permutes its own. With `carry` a batch may span permutations;
    without it what is left of one, and is no batch for every worker, is dropped.
    """

    def __init__(
        self,
        images: Images,
        shards: list[np.ndarray] | None,
        workers: int,
        batch_size: int,
        seed: int,
        crop: int,
        flip: bool,
        carry: bool,
    ) -> None:
        self.images = images
        self.shards = shards
        self.workers = workers
        self.batch_size = batch_size
        self.seed = seed
        self.crop = crop
        self.flip = flip
        self.carry = carry
        self._order = lru_cache(workers + 2)(self._permutation)

    def _permutation(self, epoch: int, worker: int | None) -> np.ndarray:
        if worker is None:
            n = len(self.images.train_labels)
            return generator(Purpose.ORDER, self.seed, epoch).permutation(n)
        assert self.shards is not None
        rng = generator(Purpose.ORDER, self.seed, epoch, worker)
        return rng.permutation(self.shards[worker])

    def indices(self, worker: int, draw: int) -> np.ndarray:
        """The indices (b,) of the images of a worker's draw; draws count from 0."""
        b = self.batch_size
        if self.shards is None:
            owner, length, sharers = None, len(self.images.train_labels), self.workers
            batch = draw * sharers + worker
        else:
            owner, length, sharers = worker, len(self.shards[worker]), 1
            batch = draw
        if self.carry:
            return self._stream(owner, length, batch * b)
        epoch, batch = divmod(batch, length // (sharers * b) * sharers)
        return self._stream(owner, length, epoch * length + batch * b)

    def _stream(self, owner: int | None, length: int, place: int) -> np.ndarray:
        """The b indices from `place` on in an owner's permutations, one after another."""
        pieces: list[np.ndarray] = []
        while missing := self.batch_size - sum(map(len, pieces)):
            epoch, start = divmod(place, length)
            pieces.append(self._order(epoch, owner)[start : start + missing])
            place += len(pieces[-1])
        return np.concatenate(pieces)

    def draw(self, worker: int, draw: int) -> tuple[Tensor, Tensor]:
        """(b, 3, h, w) float32 images, augmented and normalised, and (b,) labels."""
        device = self.images.train_images.device
        index = torch.from_numpy(self.indices(worker, draw)).to(device)
        images = self.images.train_images[index]
        if self.crop or self.flip:
            rng = generator(Purpose.AUGMENTATION, self.seed, worker, draw)
            images = augmented(images, self.crop, self.flip, rng)
        return self.images.normalised(images), self.images.train_labels[index]


def augmented(images: Tensor, crop: int, flip: bool, rng: np.random.Generator) -> Tensor:
    """Random crops out of images padded by `crop` black pixels, half of them mirrored with `flip`.

    (b, h, w, 3) to the same shape, by indexing.
    """
    b, h, w, _ = images.shape
    rows = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(h)
    columns = rng.integers(0, 2 * crop + 1, (b, 1)) + np.arange(w)
    mirrored = rng.random(b) < 0.5
    if flip:
        columns[mirrored] = columns[mirrored, ::-1]
    padded = torch.nn.functional.pad(images, (0, 0, crop, crop, crop, crop))
    device = images.device
    return padded[
        torch.arange(b, device=device)[:, None, None],
        torch.from_numpy(rows).to(device)[:, :, None],
        torch.from_numpy(columns).to(device)[:, None, :],
    ]
