"""Rounds in which a sample of the workers takes part, as in federated averaging (1602.05629)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows
from prsgd.fields import share


@dataclass
class Participation(Rounds):
    """`participation` = S / N: S workers, drawn from (seed, round), take a round's steps.

    Its mean is over them, and all N restart from what follows.
    """

    participation: float = share(1.0, kw_only=True)

    def active(self, t: int, info: RunInfo) -> Sequence[int] | None:
        if self.participation == 1:
            return None
        r = (t - 1) // self.interval + 1
        return drawn(info.seed, r, info.workers, taking_part(self.participation, info.workers))

    def among(self, workers: Rows) -> Sequence[int] | None:
        return None if self.participation == 1 else workers.computing

    def batches_drawn(self, t: int, workers: int) -> int:
        return taking_part(self.participation, workers) * t


def taking_part(participation: float, workers: int) -> int:
    """S of N = `workers`."""
    return max(1, round(participation * workers))


@lru_cache(maxsize=8)
def drawn(seed: int, r: int, workers: int, count: int) -> list[int]:
    """`count` of the N workers, in order, for round r = 1, 2, ..."""
    random = Random(f"participation {seed} {r}")
    return sorted(sorted(range(workers), key=lambda _: random.random())[:count])
