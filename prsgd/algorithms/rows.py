"""What an algorithm may do with a fragment of the workers' rows, and with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prsgd.algorithms.info import Array, Part


class Rows(Protocol):
    """The rows of the N workers, of which this process hosts K, or a fragment of their columns.

    `per_worker`, `replicated` and `scalars` hold the algorithm's own state; checkpoints keep it.
    Those of a fragment have its columns only, and it has scalars of its own.
    """

    x: Array  # (K, D): the parameters x_i; to be changed in place
    scalars: dict[str, float]  # the algorithm's own numbers, the same on every process

    @property
    def count(self) -> int:
        """N."""

    @property
    def computing(self) -> Sequence[int]:
        """The workers, of all N, that compute in this step."""

    def own(self, numbers: Sequence[float]) -> Array:
        """(K, 1): those of the rows that are here, of one number for each of the N workers."""

    def mean(self, *parts: Part, among: Sequence[int] | None = None) -> list[Array]:
        """mean_j of each part's rows, as (D,): one round. They are valid until the next round.

        Only the workers `among` send, if it says which; all N may be set to what follows.
        """

    def start_mean(self, delay: int, *parts: Part) -> None:
        """Let the means of the parts, as they are now, travel for `delay` steps."""

    def finish_mean(self) -> list[Array]:
        """The means that were started last, waited for where they have not come yet."""

    def restart(self, x: Array) -> None:
        """x_i <- x for every worker, where x is (D,)."""

    def moments(self, at_sync: str) -> list[Part]:
        """The optimiser's moments, to be sent with x where `at_sync` is `average`; else none."""

    def set_moments(self, at_sync: str, means: list[Array]) -> None:
        """After a round: `average` sets them to their `means`, `reset` to 0, `keep` leaves them."""

    def per_worker(self, name: str) -> Array:
        """(K, D) of the algorithm's own, a row per worker; 0 at first."""

    def replicated(self, name: str) -> Array:
        """(D,) of the algorithm's own, which it keeps the same on every process; 0 at first."""
