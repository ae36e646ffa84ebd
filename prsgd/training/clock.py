"""Seconds of training. Evaluation, checkpoints and start-up do not count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """A stopwatch; `now` tells the seconds once all queued work is done."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds = 0.0
        self._since: float | None = None

    def start(self) -> None:
        self._since = self.now()

    def stop(self) -> None:
        if self._since is not None:
            self.seconds += self.now() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do something that is not training."""
        self.stop()
        yield
        self.start()
