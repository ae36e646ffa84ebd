"""How long a run would take on a network, from what it computed and sent. Pure arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Transfer:
    """A round, as a clock sees it that counts computing only; times are in seconds."""

    sent: float  # when it is sent
    due: float  # when its mean is used; `sent` where workers wait for it
    seconds: float  # that the links are busy with it


@dataclass(frozen=True)
class Stalls:
    """The time that workers have waited for the network, after so much computing."""

    computed: list[float]
    waited: list[float]

    def time(self, computed: float) -> float:
        """When workers have computed for so long, and used every mean that was due by then."""
        place = bisect_right(self.computed, computed * (1 + 1e-12)) - 1
        return computed + (self.waited[place] if place >= 0 else 0.0)


def replay(transfers: Iterable[Transfer], end: float) -> Stalls:
    """Links carry one round after another, in the order in which they are sent.

    Workers go on until a mean is due, and wait if it has not come. What is still under way when
    all is computed, at `end`, is waited for there.
    """
    computed, waited = list[float](), list[float]()
    wait = free = 0.0  # seconds waited so far; when the links are free
    under_way: list[tuple[float, float]] = []  # (due, when it has come)

    def use(until: float) -> None:
        nonlocal wait
        while under_way and under_way[0][0] <= until:
            due, come = under_way.pop(0)
            wait = max(wait, come - due)
            computed.append(due)
            waited.append(wait)

    for transfer in transfers:
        use(transfer.sent)
        free = max(free, transfer.sent + wait) + transfer.seconds
        under_way.append((min(transfer.due, end), free))
        use(transfer.sent)
    use(end)
    return Stalls(computed, waited)
