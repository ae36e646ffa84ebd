"""Signals that ask a run to stop."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from threading import Event, Thread, current_thread, main_thread
from types import FrameType
from typing import Any

# Processes add up the weights of their signals, and the sum tells which signal it was. A lost
# terminal (SIGHUP) counts as SIGTERM.
SIGNAL_WEIGHTS = {signal.SIGINT: 1, signal.SIGTERM: 1 << 12, signal.SIGHUP: 1 << 12}


def signal_of(weight: float) -> signal.Signals:
    """The signal behind a sum of weights."""
    return signal.SIGTERM if weight >= SIGNAL_WEIGHTS[signal.SIGTERM] else signal.SIGINT


@contextmanager
def leaving(asked: Callable[[], int]) -> Iterator[None]:
    """End this process when `asked` has been told to for a second.

    The code inside waits in C++, where no signal is heard.
    """
    over = Event()

    def watch() -> None:
        while not over.wait(1.0):
            if weight := asked():
                os._exit(128 + signal_of(weight))

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


class Interrupt:
    """Remembers the first signal that arrives while it is entered. A second SIGINT ends at once.

    With `shared` the process that made the object shares the signals sent to it with every process
    that has the object, whether that process had started by then or not. A signal sent to another
    process stays there: torch ends the surviving ranks by SIGTERM when one has died, and that must
    stop nobody else. A second SIGTERM changes nothing: a scheduler may send one to every process.
    Python lets only its main thread handle signals; in any other the object hears none.
    """

    def __init__(self, shared: bool = False) -> None:
        self._agent = os.getpid()
        self._of_agent = RawValue("i", 0) if shared else ctypes.c_int(0)
        self._own = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> int:
        """0, or the weight of the signal that came."""
        return self._own or int(self._of_agent.value)

    def __getstate__(self) -> dict[str, Any]:
        """Without the handlers, which belong to the process that set them."""
        return {**vars(self), "_before": {}}

    def __enter__(self) -> Interrupt:
        self._own = 0
        if current_thread() is not main_thread():
            return self
        for number in SIGNAL_WEIGHTS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:  # the run was started by nohup
                continue
            self._before[number] = before
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._own and number == signal.SIGINT:
            self._end_at_once()
        self._own = self._own or SIGNAL_WEIGHTS[signal.Signals(number)]
        if os.getpid() == self._agent:
            self._of_agent.value = self._own

    def _end_at_once(self) -> None:
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + signal.SIGINT)
