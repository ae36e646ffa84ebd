"""Each process notes its step before every collective, where its peers can see it.

When a collective fails, gloo says only that some process did not take part. The steps tell which
one. They are in memory that the ranks of one machine share, or else in torch's store.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

import torch.distributed as dist

from prsgd.errors import LOST

STORE_SECONDS = 5.0  # how long to wait for the store after an error


class Heartbeat:
    """Writes this process's step, and reads those of all processes after an error."""

    def __init__(self, rank: int, processes: int, beats: Any = None) -> None:
        self.rank = rank
        self.processes = processes
        self.collectives = 0
        self.beats = beats
        self.store = dist.distributed_c10d._get_default_store()

    def beat(self, step: int, everyone: bool) -> None:
        """Note that a collective of some processes, or of everyone, comes next in `step`."""
        self.collectives += everyone
        if self.beats is None:
            self.store.set(f"beat/{self.rank}", f"{self.collectives} {step}")
        else:
            self.beats[2 * self.rank : 2 * self.rank + 2] = self.collectives, step

    def missing(self, error: str) -> str:
        """The line for an error of a collective, naming the processes that had not come."""
        if "imed out" not in error and "timeout" not in error:
            return LOST
        seen: dict[int, list[int]] = {}

        def look() -> None:
            for rank in range(self.processes):
                seen[rank] = self._beat_of(rank)

        asking = Thread(target=look, daemon=True)  # the store does not keep its own timeout
        asking.start()
        asking.join(STORE_SECONDS)
        if asking.is_alive():
            return f"{LOST}: rank 0, which keeps the store, does not answer"
        behind = {rank: step for rank, (count, step) in seen.items() if count < self.collectives}
        places = ", ".join(f"rank {rank} was in step {step}" for rank, step in behind.items())
        here = f"rank {self.rank} waited in step {seen[self.rank][1]}"
        return f"{LOST}: {here}; {places or 'all had come, and one stopped there'}"

    def _beat_of(self, rank: int) -> list[int]:
        """(collectives, step) of a process, as it noted them last."""
        if self.beats is None:
            return [int(word) for word in self.store.get(f"beat/{rank}").split()]
        return list(self.beats[2 * rank : 2 * rank + 2])
