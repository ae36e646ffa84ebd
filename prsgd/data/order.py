"""Which samples worker i draws as its k-th batch: a pure function of (seed, i, k)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from prsgd.rng import Purpose, generator


class Order:
    """Draws of b = `batch_size` of n samples, from each worker's shard or from all.

    Without shards one permutation of all samples after another is dealt to the workers, batch by
    batch; with shards each worker permutes its own. With `carry` a batch may span permutations;
    without it what is left of one, and is no batch for every worker, is dropped.
    """

    def __init__(
        self,
        n: int,
        shards: list[np.ndarray] | None,
        workers: int,
        batch_size: int,
        seed: int,
        carry: bool,
    ) -> None:
        self.n = n
        self.shards = shards
        self.workers = workers
        self.batch_size = batch_size
        self.seed = seed
        self.carry = carry
        self._order = lru_cache(workers + 2)(self._permutation)

    def _permutation(self, number: int, worker: int | None) -> np.ndarray:
        if worker is None:
            return generator(Purpose.ORDER, self.seed, number).permutation(self.n)
        assert self.shards is not None
        rng = generator(Purpose.ORDER, self.seed, number, worker)
        return rng.permutation(self.shards[worker])

    def indices(self, worker: int, draw: int) -> np.ndarray:
        """The indices (b,) of the samples of a worker's draw; draws count from 0."""
        return self.passes(worker, draw)[0]

    def passes(self, worker: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, and the number (b,) of the permutation that each is of."""
        b = self.batch_size
        if self.shards is None:
            owner, length, sharers = None, self.n, self.workers
            batch = draw * sharers + worker
        else:
            owner, length, sharers = worker, len(self.shards[worker]), 1
            batch = draw
        if self.carry:
            return self._stream(owner, length, batch * b)
        number, batch = divmod(batch, length // (sharers * b) * sharers)
        return self._stream(owner, length, number * length + batch * b)

    def _stream(self, owner: int | None, length: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """The b indices from `place` on in an owner's permutations, one after another."""
        pieces, numbers, missing = list[np.ndarray](), list[np.ndarray](), self.batch_size
        while missing:
            number, start = divmod(place, length)
            pieces.append(self._order(number, owner)[start : start + missing])
            taken = len(pieces[-1])
            numbers.append(np.full(taken, number))
            place, missing = place + taken, missing - taken
        return np.concatenate(pieces), np.concatenate(numbers)
