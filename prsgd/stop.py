"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

# what a signal weighs in a sum over the processes; a lost terminal counts as SIGTERM
WEIGHTS = {signal.SIGINT: 1, signal.SIGTERM: 1 << 12, signal.SIGHUP: 1 << 12}


def signal_of(weight: float) -> signal.Signals:
    """The signal behind a sum of weights."""
    return signal.SIGTERM if weight >= WEIGHTS[signal.SIGTERM] else signal.SIGINT


class Stop:
    """Remembers the first signal while it is entered; a second SIGINT ends at once.

    A second SIGTERM does not: where every process is sent one, each hears it from its agent again.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> int:
        """0, or the weight of the signal that came."""
        return self.weight

    def __enter__(self) -> Stop:
        for number in WEIGHTS:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.weight and number == signal.SIGINT:
            os._exit(128 + number)
        self.weight = self.weight or WEIGHTS[signal.Signals(number)]
