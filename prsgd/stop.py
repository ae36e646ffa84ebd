"""Signals that ask a run to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.sharedctypes import RawValue
from types import FrameType
from typing import Any

# what a signal weighs in a sum over the processes; a lost terminal counts as SIGTERM
WEIGHTS = {signal.SIGINT: 1, signal.SIGTERM: 1 << 12, signal.SIGHUP: 1 << 12}


def signal_of(weight: float) -> signal.Signals:
    """The signal behind a sum of weights."""
    return signal.SIGTERM if weight >= WEIGHTS[signal.SIGTERM] else signal.SIGINT


class Stop:
    """Remembers the first signal while it is entered; a second SIGINT ends at once.

    What the process that made it is told, all see who were given the object, started or not. What
    they are told themselves is theirs: torch ends ranks by SIGTERM when one of them has died. A
    second SIGTERM means nothing more: a scheduler may send one to every process.
    """

    def __init__(self) -> None:
        self._agent = os.getpid()
        self._of_agent = RawValue("i", 0)
        self._own = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> int:
        """0, or the weight of the signal that came."""
        return self._own or int(self._of_agent.value)

    def __getstate__(self) -> dict[str, Any]:
        """For a spawned process, which has handlers of its own."""
        return {**vars(self), "_before": {}}

    def __enter__(self) -> Stop:
        self._own = 0
        for number in WEIGHTS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:  # nohup
                continue
            self._before[number] = before
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._own and number == signal.SIGINT:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        self._own = self._own or WEIGHTS[signal.Signals(number)]
        if os.getpid() == self._agent:
            self._of_agent.value = self._own
