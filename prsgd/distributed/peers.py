"""Waiting for the other processes, and seeing that one of them is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prsgd.distributed.heartbeat import Heartbeat
from prsgd.distributed.meeting import Meeting
from prsgd.errors import LOST, ProcessLost

SHORTEST_PAUSE, LONGEST_PAUSE = 20e-6, 200e-6  # seconds between two looks at a collective
GONE_SECONDS = 1.0  # after which a process that waits looks for peers that have ended
ENDING_SECONDS = 20.0  # as torchrun kills what has not ended 30 seconds after SIGTERM


class Peers:
    """Those whom this process waits for; without a `heartbeat` there are none."""

    def __init__(self, timeout: float, meeting: Meeting | None, asked: Callable[[], int]) -> None:
        """`asked` tells whether this process was asked to end."""
        self.timeout = timeout
        self.meeting = meeting
        self.asked = asked
        self.heartbeat: Heartbeat | None = None

    def beat(self, step: int, everyone: bool) -> None:
        """Note that a collective comes next in `step`."""
        if self.heartbeat:
            self.heartbeat.beat(step, everyone)

    @contextmanager
    def missed(self) -> Iterator[None]:
        """A backend's error means that a process is lost."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(str(error)) from error

    def wait(self, work: Any) -> Any:
        """What a collective's `wait` returns, once it is done.

        Signals are heard meanwhile, and peers that end are missed. Where others come too late, or
        not before an agent kills this process, which was asked to end, they count as lost: a
        backend may wait for a dead peer for ever.
        """
        pause, looked, is_asked = SHORTEST_PAUSE, time.monotonic(), False
        latest = looked + self.timeout
        while not work.is_completed():
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if not is_asked and not self.meeting and self.asked():
                is_asked, latest = True, min(latest, time.monotonic() + ENDING_SECONDS)
            if time.monotonic() > latest and self.heartbeat:
                raise self._lost("timed out")
            if self.meeting and time.monotonic() - looked > GONE_SECONDS:
                looked = time.monotonic()
                if gone := self.meeting.gone():
                    raise ProcessLost(f"{LOST}: rank {gone[0]} has ended")
        return work.wait()

    def _lost(self, error: str) -> ProcessLost:
        return ProcessLost(self.heartbeat.missing(error) if self.heartbeat else LOST)
