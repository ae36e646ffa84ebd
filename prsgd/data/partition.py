"""Which training images each worker may draw from."""

import numpy as np

from prsgd.rng import Purpose, generator


def shards(
    kind: str, labels: np.ndarray, workers: int, alpha: float, seed: int
) -> list[np.ndarray] | None:
    """Indices of each worker's shard, n // N of them each; None where all share everything.

    iid: a random split. by_label: sorted by label and cut, so that a worker sees few classes.
    dirichlet: worker i's shares of the C classes are Dirichlet(alpha C p), where p are the set's
    own shares. Hsu, Qi and Brown (1909.06335) draw from Dirichlet(alpha p), so that their alpha is
    C times ours.
    """
    if kind == "shared":
        return None
    rng = generator(Purpose.PARTITION, seed)
    order = rng.permutation(len(labels))
    size = len(labels) // workers
    if kind == "dirichlet":
        return _dirichlet(order, labels, workers, size, alpha, rng)
    if kind == "by_label":
        order = order[np.argsort(labels[order], kind="stable")]
    return [order[i * size : (i + 1) * size] for i in range(workers)]


def _dirichlet(
    order: np.ndarray,
    labels: np.ndarray,
    workers: int,
    size: int,
    alpha: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    stock = [order[labels[order] == label] for label in np.unique(labels)]
    prior = np.array([len(pile) for pile in stock]) / len(labels)
    result = []
    for _ in range(workers):
        shares = rng.dirichlet(alpha * prior * len(prior))
        taken: list[np.ndarray] = []
        while missing := size - sum(map(len, taken)):
            left = np.array([len(pile) for pile in stock])
            wanted = np.where(left > 0, shares, 0)
            # When a class runs out, the classes that are left fill the shard.
            wanted = wanted if wanted.sum() > 0 else left
            counts = np.minimum(rng.multinomial(missing, wanted / wanted.sum()), left)
            for label, count in enumerate(counts):
                taken.append(stock[label][:count])
                stock[label] = stock[label][count:]
        result.append(np.concatenate(taken))
    return result
