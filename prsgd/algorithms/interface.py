"""All that an algorithm may do with the workers."""

from __future__ import annotations

from typing import Protocol

from prsgd.algorithms.info import Array, Part


class Workers(Protocol):
    """The N workers, of which this process hosts K. The active ones have computed their gradients.

    `per_worker`, `replicated` and `scalars` hold the algorithm's own state; checkpoints keep it.
    """

    x: Array  # (K, D): the parameters x_i; to be changed in place
    g: Array  # (K, D): the gradients G_i; likewise
    scalars: dict[str, float]  # the algorithm's own numbers, the same on every process

    def optimizer_step(self, lr: float) -> None:
        """x_i <- x_i - lr * (the optimiser's direction for G_i), for every active worker."""

    def mean(self, *parts: Part) -> list[Array]:
        """mean_j of each part's rows, as (D,): one round. They are valid until the next round."""

    def restart(self, x: Array) -> None:
        """x_i <- x for every worker, where x is (D,)."""

    def moments(self, at_sync: str) -> list[Part]:
        """The optimiser's moments, to be sent with x where `at_sync` is `average`; else none."""

    def set_moments(self, at_sync: str, means: list[Array]) -> None:
        """After a round: `average` sets them to their `means`, `reset` to 0, `keep` leaves them."""

    def average(self, at_sync: str, group: int | None = None) -> None:
        """x_i <- mean_j x_j: one round, of all workers or within each `group` successive ones.

        `at_sync` says what becomes of the optimiser's moments, as in `set_moments`.
        """

    def average_gradients(self) -> None:
        """G_i <- mean_j G_j: one round."""

    def mean_loss(self) -> float:
        """The mean of all workers' last mini-batch losses; it costs 8 bytes and no round."""

    def per_worker(self, name: str) -> Array:
        """(K, D) of the algorithm's own, a row per worker; 0 at first."""

    def replicated(self, name: str) -> Array:
        """(D,) of the algorithm's own, which it keeps the same on every process; 0 at first."""
