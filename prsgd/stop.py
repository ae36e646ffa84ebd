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

    What an agent remembers its ranks see, who were given the object, started or not: it is in
    shared memory. A second SIGTERM means nothing more: a scheduler may send one to every process.
    """

    def __init__(self) -> None:
        self._weight = RawValue("i", 0)
        self._told = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> int:
        """0, or the weight of the signal that came."""
        weight: int = self._weight.value
        return weight

    def __enter__(self) -> Stop:
        self._told = False
        for number in WEIGHTS:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._told and number == signal.SIGINT:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        self._told = True
        self._weight.value = self._weight.value or WEIGHTS[signal.Signals(number)]
