"""Where a run's progress is seen: a bar, lines of text, or a bar that another process draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import current_thread, main_thread
from time import monotonic
from typing import Any

from rich import progress as bars
from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from prsgd.config.plan import Screen
from prsgd.console import console, printable, say, show_pairs

BETWEEN = 0.2  # seconds between two looks of a far line
IN_SHORT = 2  # facts of a run that has ended among others
ONE_LINE = 130  # letters that a bar and what is known of a run need
STATE = bars.TextColumn("{task.fields[state]}")


class Bars(bars.Progress):
    """A line for each run where there is room for it, and else what is known of it in a second."""

    def __init__(self, shown: bool, refreshes_itself: bool = True) -> None:
        super().__init__(
            bars.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            bars.BarColumn(bar_width=20),
            *([STATE] if console.width >= ONE_LINE else []),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,
            auto_refresh=refreshes_itself,
            disable=not shown,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        if STATE in self.columns:
            yield self.make_tasks_table(self.tasks)
            return
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(task.fields["state"], no_wrap=True)


class Line:
    """The progress of the run called `title`, on a terminal that no other run has."""

    draws = True  # in this process

    def __init__(self, title: str) -> None:
        self.live = self._is_live()  # whether it is seen at every step
        self.bars = Bars(self.live and self.draws)
        self.task = self.bars.add_task(printable(title), total=None, state="")
        self.title = title
        self._begin()

    def _is_live(self) -> bool:
        return console.is_terminal and current_thread() is main_thread()

    def _begin(self) -> None:
        self.bars.start()
        if not self.live:
            say(self.title)

    @property
    def speed(self) -> float:
        """Steps a second; 0 where that is not known yet."""
        return self.bars.tasks[0].speed or 0.0

    def update(self, **fields: Any) -> None:
        """Change `total`, `completed` or `state`."""
        self.bars.update(self.task, **fields)

    def say(self, text: str) -> None:
        """Show a line of text that stays."""
        say(text)

    def end(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Show what came out of the run."""
        show_pairs(pairs)

    def stop(self) -> None:
        self.bars.stop()


class LabelledLine(Line):
    """The same among lines of other runs: no bar, and every line says whose it is."""

    def _is_live(self) -> bool:
        return False

    def _begin(self) -> None:
        self.say("begins")

    def say(self, text: str) -> None:
        say(f"{self.title}  {text}")

    def end(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.say("done: " + "; ".join(f"{name} {value}" for name, value in pairs[:IN_SHORT]))


class FarLine(LabelledLine):
    """The same where another process draws a bar for each run."""

    draws = False

    def __init__(self, title: str, bars: Connection) -> None:
        self.far, self.next = bars, 0.0
        super().__init__(title)

    def _is_live(self) -> bool:
        return True

    def _begin(self) -> None:
        self._tell(title=self.title)

    def update(self, **fields: Any) -> None:
        super().update(**fields)
        if "total" in fields or monotonic() > self.next:
            self.next = monotonic() + BETWEEN
            self._tell(**fields)

    def say(self, text: str) -> None:
        self._tell(say=f"{self.title}  {text}")

    def _tell(self, **fields: Any) -> None:
        with suppress(OSError):  # who draws may be gone
            self.far.send(fields)


def line_of(title: str, screen: Screen | None) -> Line:
    if screen is None:
        return Line(title)
    return LabelledLine(title) if screen.bars is None else FarLine(title, screen.bars)
