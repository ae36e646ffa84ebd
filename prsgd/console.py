"""What all screens share: the console, amounts, durations, bars and the error line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """The one line that a user gets who made a mistake."""
    errors.print(f"prsgd: {message}", markup=False)


def say(line: str) -> None:
    """A line on the screen, as it is."""
    console.print(line, markup=False)


def amount(size: float) -> str:
    """Bytes for people: 1.08 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 20 s, 1 h 05 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def track(items: Iterable[T], total: int, what: str = "reading images") -> Iterator[T]:
    """The items, with a progress bar."""
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
    ) as progress:
        yield from progress.track(items, total)


def show(table: Table) -> None:
    """Print a table at its own width: a narrow terminal wraps lines rather than cells."""
    Console(highlight=False, width=500).print(table)
