"""All that an algorithm may do with the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prsgd.algorithms.info import Array
from prsgd.algorithms.rows import Rows


class Workers(Rows, Protocol):
    """All columns. The active workers have computed their gradients."""

    g: Array  # (K, D): the gradients G_i; to be changed in place

    def optimizer_step(self, lr: float) -> None:
        """x_i <- x_i - lr * (the optimiser's direction for G_i), for every active worker."""

    def fragments(self, count: int) -> Sequence[Rows]:
        """The columns in `count` parts of about equal size, cut between parameters."""

    def average(self, at_sync: str, group: int | None = None) -> None:
        """x_i <- mean_j x_j: one round, of all workers or within each `group` successive ones.

        `at_sync` says what becomes of the optimiser's moments, as in `set_moments`.
        """

    def average_gradients(self) -> None:
        """G_i <- mean_j G_j: one round."""

    def mean_loss(self) -> float:
        """The mean of all workers' last mini-batch losses; it costs 8 bytes and no round."""
