"""Which training samples each worker may draw from."""

import numpy as np

from prsgd.rng import Purpose, generator


def shards(
    kind: str, labels: np.ndarray, workers: int, alpha: float, seed: int, carry: bool
) -> list[np.ndarray] | None:
    """Indices of each worker's shard; None where all share everything.

    Each has n // N images; with `carry` the first n mod N workers have one more.

    iid: a random split. contiguous: cut as they lie. by_file: the labels are numbers of files.
    by_label: sorted by label and cut, so that a worker sees few classes.
    dirichlet: worker i's shares of the C classes are Dirichlet(alpha C p), where p are the set's
    own shares. Hsu, Qi and Brown (1909.06335) draw from Dirichlet(alpha p), so that their alpha is
    C times ours.
    """
    if kind == "shared":
        return None
    rng = generator(Purpose.PARTITION, seed)
    order = rng.permutation(len(labels))
    size, rest = divmod(len(labels), workers)
    sizes = [size + (carry and worker < rest) for worker in range(workers)]
    if kind == "dirichlet":
        return _dirichlet(order, labels, sizes, alpha, rng)
    if kind == "contiguous":
        order = np.arange(len(labels))
    if kind in ("by_label", "by_file"):
        order = order[np.argsort(labels[order], kind="stable")]
    return np.split(order, np.cumsum(sizes))[:workers]


def _dirichlet(
    order: np.ndarray,
    labels: np.ndarray,
    sizes: list[int],
    alpha: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    stock = [order[labels[order] == label] for label in np.unique(labels)]
    prior = np.array([len(pile) for pile in stock]) / len(labels)
    result = []
    for size in sizes:
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
