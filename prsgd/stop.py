"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

WEIGHTS = {signal.SIGINT: 1, signal.SIGTERM: 1 << 12}  # in a sum over the processes


def signal_of(weight: float) -> signal.Signals:
    """The signal behind a sum of weights."""
    return signal.SIGTERM if weight >= WEIGHTS[signal.SIGTERM] else signal.SIGINT


class Stop:
    """Remembers the first SIGINT or SIGTERM while it is entered; a second one ends at once."""

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
        if self.weight:
            os._exit(128 + number)
        self.weight = WEIGHTS[signal.Signals(number)]
