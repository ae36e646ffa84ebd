"""What workers send where it is compressed: their difference from a point that all know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from prsgd.algorithms.info import Part
from prsgd.distributed.communicator import Communicator, Mean
from prsgd.distributed.compressed import compressed_mean
from prsgd.distributed.compression import Lossy

NAME = "compression"  # how the names of its vectors begin
APART = f"{NAME}/apart"


class Differences:
    """Keeps the points that parts are a difference from, and with error feedback the residuals e_i.

    `per_worker` and `replicated` are those of the workers, whose checkpoints then have all of it.
    `place` tells the random numbers of a fragment from those of others.
    """

    def __init__(
        self,
        compressor: Lossy,
        seed: int,
        place: list[int],
        per_worker: Callable[[str], Tensor],
        replicated: Callable[[str], Tensor],
    ) -> None:
        self.compressor = compressor
        self.seed = seed
        self.place = place
        self.per_worker = per_worker
        self.replicated = replicated

    def restarted(self, x: Tensor) -> None:
        """All workers are at x (D,)."""
        self.replicated(f"{NAME}/restart").copy_(x)

    def leave(self, x: Tensor, scalars: dict[str, float]) -> None:
        """A local step comes. Before the first one all workers are at one point x, wherever it is.

        `scalars` are the workers', which remember that it has come.
        """
        if APART not in scalars:
            self.restarted(x)
            scalars[APART] = 1.0

    def mean(
        self, parts: Sequence[Part], control: Tensor, t: int, communicator: Communicator
    ) -> Mean:
        """The mean of each part over those who take part, as it arrives in the round of step t."""
        points = [self._point(part, place) for place, part in enumerate(parts)]
        rows = [part.rows - point for part, point in zip(parts, points, strict=True)]
        places = range(len(parts) if self.compressor.error_feedback else 0)
        residuals = [self._residual(parts[place], place) for place in places]
        for own, e in zip(rows, residuals, strict=False):
            own.add_(e, alpha=self.compressor.residual_decay)
        shares = communicator.shares
        rows = rows if shares is None else [own * shares for own in rows]
        where = [self.seed, t, *self.place]
        found, sent = compressed_mean(self.compressor, communicator, rows, control, where)
        for e, own, message in zip(residuals, rows, sent, strict=False):
            if shares is None:
                torch.sub(own, message, out=e)
            else:
                e.mul_(1 - shares).add_(own - message)
        means = [point + mean for point, mean in zip(points, found.means, strict=True)]
        for place, (part, mean) in enumerate(zip(parts, means, strict=True)):
            if isinstance(part.reference, str) and part.reference == "mean":
                self.replicated(f"{NAME}/mean{place}").copy_(mean)
        return found._replace(means=means)

    def _point(self, part: Part, place: int) -> Tensor | float:
        """What a part is a difference from, (D,), or 0."""
        if not isinstance(part.reference, str):
            point: Tensor = part.reference
            return point
        if part.reference == "zero":
            return 0.0
        name = "restart" if part.reference == "restart" else f"mean{place}"
        return self.replicated(f"{NAME}/{name}")

    def _residual(self, part: Part, place: int) -> Tensor:
        """e_i: what the messages of a part have left out so far, (K, D)."""
        kind = part.reference if isinstance(part.reference, str) else "point"
        return self.per_worker(f"{NAME}/residual_{kind}{place}")
