"""Means that arrive late: workers go on while they travel, and then merge with what they bring."""

from dataclasses import dataclass
from typing import Any

from prsgd.algorithms.groups import Groups
from prsgd.algorithms.info import Array
from prsgd.algorithms.rows import Rows
from prsgd.fields import merges, share_or_progress, whole


@dataclass
class Late(Groups):
    """Means are used `delay` steps after they were sent. What workers restart from then is `new`.

    merge = a: x_i <- a x_i + (1 - a) new. merge = progress: x_i <- new + what i did since it sent.
    The scalar `lr_sum` is the sum of the learning rates of the steps that lie between new and x_i.
    """

    delay: int = whole(0, 0, kw_only=True)
    merge: Any = share_or_progress(decides_curve=merges, kw_only=True)

    def check(self, workers: int) -> str:
        if self.delay > self.interval:
            return f"delay={self.delay} must be at most interval={self.interval}"
        if self.delay == self.interval and not self.merge:
            return f"delay={self.delay} needs a merge above 0: with 0 every step is thrown away"
        return super().check(workers)

    def depart(self, lr: float, rows: Rows) -> None:
        """Send, and go on."""
        rows.start_mean(self.delay, *self.send(rows))
        rows.scalars |= {"lr_sent": lr, "lr_sum_sent": rows.scalars["lr_sum"]}
        if self.merge == "progress":
            rows.per_worker("sent")[:] = rows.x

    def arrive(self, rows: Rows) -> None:
        """Use what was sent last."""
        progress, since = None, 0.0
        if self.merge == "progress":
            progress = rows.x - rows.per_worker("sent")
            since = rows.scalars["lr_sum"] - rows.scalars["lr_sum_sent"]
        self._merge(rows.finish_mean(), rows.scalars["lr_sent"], rows, progress, since)

    def communicate(self, lr: float, workers: Rows) -> None:
        means = workers.mean(*self.send(workers), among=self.among(workers))
        self._merge(means, lr, workers, None, 0.0)

    def _merge(
        self, means: list[Array], lr: float, rows: Rows, progress: Array | None, since: float
    ) -> None:
        is_share = self.merge not in (0, "progress")
        kept = self.merge * rows.x if is_share else progress
        self.receive(means, lr, rows)  # x_i <- new
        if is_share:
            rows.x *= 1 - self.merge
            since = self.merge * rows.scalars["lr_sum"]
        if kept is not None:
            rows.x += kept
        rows.scalars["lr_sum"] = since
