"""Runs at the same time, each in a process forked from this one, which draws their progress."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from prsgd.config.plan import Screen
from prsgd.console import console, printable, say
from prsgd.launch.elastic import follow_agent
from prsgd.launch.gpus import seen_by
from prsgd.training.interrupt import Interrupt, signal_of
from prsgd.training.trackers.lines import Bars

T = TypeVar("T")
FORK = multiprocessing.get_context("fork")
LOOK = 0.5  # seconds between two looks at the runs


@dataclass(frozen=True)
class Lost:
    """A process that ended without an answer."""

    exitcode: int

    def __str__(self) -> str:
        if self.exitcode < 0:
            return f"its process was ended by {signal.Signals(-self.exitcode).name}"
        return f"its process ended with exit code {self.exitcode}"


@dataclass
class _Child(Generic[T]):
    """A task under way."""

    place: int
    slot: int
    process: BaseProcess
    answer: Connection
    bars: Connection
    line: Any = None  # its bar
    told: bool = field(default=False)  # of the signal that came


def side_by_side(
    tasks: Sequence[Callable[[Screen], T]], at_once: int
) -> tuple[list[T | Lost | None], int]:
    """Do the tasks, `at_once` at a time, and share the GPUs out among them.

    Returns what each returned, in their order, and 0. After a signal those under way are told, no
    further task begins, for which there is None, and 128 + the signal is returned.
    """
    found: list[T | Lost | None] = [None] * len(tasks)
    waiting = list(enumerate(tasks))
    children = list[_Child[T]]()
    drawn = Bars(console.is_terminal, refreshes_itself=False)
    with Interrupt() as interrupt, drawn:
        while children or (waiting and not interrupt()):
            free = sorted({*range(at_once)} - {child.slot for child in children})
            while waiting and free and not interrupt():
                children.append(_begun(*waiting.pop(0), free.pop(0), at_once))
            wait([c for child in children for c in (child.answer, child.bars)], LOOK)
            for child in children:
                _draw(child, drawn)
                _tell(child, interrupt())
            for child in [child for child in children if _has_ended(child, found)]:
                _draw(child, drawn)
                children.remove(child)
                if child.line is not None:
                    drawn.remove_task(child.line)
            drawn.refresh()
    return found, 128 + signal_of(interrupt()) if interrupt() else 0


def _begun(place: int, task: Callable[[Screen], T], slot: int, at_once: int) -> _Child[T]:
    answer, ours = FORK.Pipe(duplex=False)
    bars, theirs = FORK.Pipe(duplex=False)
    screen = Screen(theirs if console.is_terminal else None)
    process = FORK.Process(target=_do, args=(task, screen, ours))
    with seen_by(slot, at_once):
        process.start()
    ours.close()
    theirs.close()
    return _Child(place, slot, process, answer, bars)


def _do(task: Callable[[Screen], T], screen: Screen, answer: Connection) -> None:
    """The child's part."""
    follow_agent()
    if screen.bars:
        console.clear_live()  # this process draws nothing
    answer.send(task(screen))


def _tell(child: _Child[T], weight: int) -> None:
    """Send a process the signal of this weight, once."""
    if weight and not child.told and child.process.pid:
        child.told = True
        os.kill(child.process.pid, signal_of(weight))


def _has_ended(child: _Child[T], found: list[T | Lost | None]) -> bool:
    if not child.answer.poll():
        return False
    try:
        found[child.place] = child.answer.recv()
        child.process.join()
    except EOFError:
        child.process.join()
        found[child.place] = Lost(child.process.exitcode or 0)
    return True


def _draw(child: _Child[T], drawn: Bars) -> None:
    """What the run tells of itself."""
    try:
        while child.bars.poll():
            told = child.bars.recv()
            if "title" in told:
                if child.line is not None:
                    drawn.remove_task(child.line)
                child.line = drawn.add_task(printable(told["title"]), total=None, state="")
            elif "say" in told:
                say(told["say"])
            else:
                drawn.update(child.line, **told)
    except EOFError:  # all who could tell have ended
        pass
