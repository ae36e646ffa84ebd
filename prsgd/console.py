"""What all screens share: the console, amounts, durations, bars and the error line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
PLAIN: Any = {"highlight": False, "emoji": False, "force_jupyter": False}
if "ipykernel" in sys.modules:  # a notebook shows lines, whatever its environment says of colours
    PLAIN["force_terminal"] = False
console = Console(soft_wrap=True, **PLAIN)
errors = Console(stderr=True, soft_wrap=True, **PLAIN)
UNSEEN = (  # what a terminal obeys, turns round or cannot encode
    *(range(0x20), range(0x7F, 0xA0)),  # control characters
    *(range(0x2028, 0x202F), range(0x2066, 0x206A)),  # ends of lines, directions of writing
    range(0xD800, 0xE000),  # halves of characters
)
ESCAPES = {code: repr(chr(code))[1:-1] for codes in UNSEEN for code in codes}


def printable(text: str) -> str:
    """A text from outside as it may be shown: what is no letter to a terminal is escaped."""
    return text.translate(ESCAPES)


class LastingStream:
    """A text stream that falls silent where it can no longer be written to: output is no training.

    What cannot be encoded is escaped.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except (OSError, ValueError):
            self._silence()
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except (OSError, ValueError):
            self._silence()

    def _silence(self) -> None:
        """Let the descriptor lead nowhere, what is still in the stream's buffer included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def outlast_the_terminal() -> None:
    """From here on a closed or full stdout or stderr changes nothing but what is seen."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would get its number
            os.open(os.devnull, os.O_RDWR)
        if number:
            stream = getattr(sys, name) or os.fdopen(os.dup(number), "w")
            setattr(sys, name, LastingStream(stream))


def print_error(message: str) -> None:
    """The one line that a user gets who made a mistake."""
    errors.print(f"prsgd: {printable(message)}", markup=False)


def say(line: str) -> None:
    """A line on the screen, as it is."""
    console.print(printable(line), markup=False)


def cells(texts: Iterable[str]) -> list[Text]:
    """A row of a table, as it is."""
    return [Text(printable(text)) for text in texts]


def amount(size: float) -> str:
    """Bytes for people: 1.08 MB."""
    rounded = float(f"{size:.3g}")
    unit, suffix = pick_unit_and_suffix(int(rounded), ["B", "kB", "MB", "GB", "TB"], 1000)
    return f"{rounded / unit:g} {suffix}"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 20 s, 1 h 05 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def track(items: Iterable[T], total: int, what: str = "reading data") -> Iterator[T]:
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


def fits(table: Table) -> bool:
    """Whether a table is no wider than the terminal; where there is none, all are."""
    return not console.is_terminal or wide().measure(table).maximum <= console.width


def show(table: Table) -> None:
    """Print a table at its own width: a narrow terminal wraps lines rather than cells."""
    wide().print(table)


def show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """A line for each name and its value."""
    table = Table.grid(padding=(0, 2))
    for pair in pairs:
        table.add_row(*cells(pair))
    show(table)


def wide() -> Console:
    """A console that wraps nothing."""
    return Console(width=500, **PLAIN)
