"""All that rich draws: a run's progress and its last words, a sweep's plan and its table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from prsgd.records import RunFolder

if TYPE_CHECKING:
    from prsgd.cluster import Ledger
    from prsgd.config import Run
    from prsgd.cost import Advice, Prediction
    from prsgd.theory.lab import Finding

T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def refuse(message: str) -> None:
    """The one line that a user who erred gets."""
    errors.print(f"prsgd: {message}", markup=False)


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
    """Draw a bar while items come."""
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


def show_plan(lines: list[dict[str, str]], seconds: float) -> None:
    """What a dry run prints; `seconds` are those of all the training that is left."""
    table = Table(*lines[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*map(Text, line.values()))
    show(table)
    planned = f"{len(lines)} run{'s' if len(lines) > 1 else ''} planned"
    left = f"about {duration(seconds)} of training" if seconds else "nothing left to train"
    console.print(f"{planned}, {left}; nothing was started")


def show_skipped(
    folder: Path, status: str, why: str, last: dict[str, float], profile: bool
) -> None:
    """The line for a run that is not run again."""
    note = ", and not profiled: choose another out" if profile else ""
    result = f"test accuracy {last['test_accuracy']:.2%}" if status == "done" and last else why
    console.print(f"{folder} is {status} ({result}): skipped{note}", markup=False)


def show_findings(findings: list[Finding]) -> None:
    """The table of `prsgd verify`."""
    table = Table("claim", "what is claimed", "what was measured", "verdict", box=box.SIMPLE_HEAD)
    for f in findings:
        verdict = Text("holds", "green") if f.holds else Text("fails", "bold red")
        table.add_row(Text(f.claim), Text(f.statement), Text(f.measured), verdict)
    console.print(table)


def show_algorithms(rows: list[tuple[str, ...]]) -> None:
    """The table of `prsgd algorithms`."""
    table = Table("algorithm=", "what it does", "when it helps", "what a worker sends")
    table.box, table.pad_edge, table.show_lines = box.HORIZONTALS, False, True
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def show_advice(situation: str, predictions: list[Prediction], advice: Advice) -> None:
    """The table and the sentence of `prsgd advise`."""
    console.print(situation, markup=False)
    columns = ("I", "ms per step", "images/s", "against I = 1", "communication")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for p in predictions:
        table.add_row(
            str(p.interval),
            f"{1000 * p.seconds:.4g}",
            f"{p.images_per_second:,.0f}",
            f"{p.images_per_second / predictions[0].images_per_second:.2f} ×",
            f"{p.share:.1%}",
            style="bold" if p.interval == advice.interval else "",
        )
    show(table)
    console.print(advice.sentence, markup=False)


def show_results(folders: list[RunFolder]) -> None:
    """The table that ends a sweep."""
    columns = ("run", "status", "training loss", "test accuracy", "rounds", "sent", "time")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for folder in folders:
        status, why = folder.status()
        last = folder.last_metrics()
        cells = [folder.path.name, f"{status}: {why}" if why else status]
        if last:
            cells += [
                f"{last['consensus_train_loss']:.4f}",
                f"{last['test_accuracy']:.2%}",
                f"{last['round']:,.0f}",
                amount(last["payload_bytes"]),
                duration(last["train_seconds"]),
            ]
        table.add_row(*map(Text, cells))
    show(table)


class Reporter:
    """What a person sees of one run: a live bar on a terminal, a line per row elsewhere."""

    def __init__(self, title: str, run: Run, quiet: bool) -> None:
        self.run = run
        self.quiet = quiet
        self.live = console.is_terminal and not quiet
        self.images_per_step = 0.0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,
            disable=not self.live,
        )
        self.task = self.progress.add_task(title, total=None, state="")
        self.loss = math.nan  # mean mini-batch loss since the last row
        self.accuracy = ""
        self.say(title)

    def say(self, line: str) -> None:
        if not self.quiet and not self.live:
            console.print(line, markup=False)

    def note(self, line: str) -> None:
        """Something that the user should know, on a terminal or not."""
        if not self.quiet:
            self.progress.console.print(line, markup=False)

    def __enter__(self) -> Reporter:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, start: int, steps: int, images_per_step: float) -> None:
        """`images_per_step`: of all workers, on average."""
        self.images_per_step = images_per_step
        self.progress.update(self.task, total=steps, completed=start)
        if start:
            self.note(f"resuming at step {start:,} of {steps:,}")

    def step(self, t: int, epoch: float, rounds: int) -> None:
        """Step t is done."""
        if not self.live:
            return
        speed = (self.progress.tasks[0].speed or 0) * self.images_per_step
        state = f"epoch {epoch:.1f}/{self.run.epochs:g}  round {rounds:,}"
        if not math.isnan(self.loss):
            state += f"  loss {self.loss:.3f}"
        self.progress.update(
            self.task, completed=t, state=f"{state}{self.accuracy}  {speed:,.0f} img/s"
        )

    def row(self, row: dict[str, Any]) -> None:
        """A new row of metrics.csv."""
        self.accuracy = f"  test {row['test_accuracy']:.1%}"
        self.say(
            f"epoch {row['epoch']:g}/{self.run.epochs:g}  step {row['step']:,}"
            f"  round {row['round']:,}  loss {row['consensus_train_loss']:.3f}"
            f"  test {row['test_accuracy']:.1%}  {row['images_per_second']:,.0f} img/s"
            f"  sent {amount(row['payload_bytes'])}  {duration(row['train_seconds'])}"
        )

    def end(self, status: str, why: str, row: dict[str, Any], ledger: Ledger, folder: Path) -> None:
        """The closing summary."""
        self.progress.stop()
        if self.quiet:
            return
        if status != "done":
            console.print(f"{status}: {why}; records in {folder}", markup=False)
            return
        seconds = row["train_seconds"]
        waiting, sending = ledger.wait_seconds / seconds, ledger.comm_seconds / seconds
        table = Table.grid(padding=(0, 2))
        for name, value in (
            ("training loss", f"{row['consensus_train_loss']:.4f} (of the average model)"),
            ("test accuracy", f"{row['test_accuracy']:.2%}, loss {row['test_loss']:.4f}"),
            (
                "communication",
                f"{ledger.rounds:,} rounds, {amount(row['payload_bytes'])} sent by each worker, "
                f"{amount(row['wire_bytes'])} on a ring's wire"
                + (
                    f"; in groups {ledger.group_rounds:,} rounds, "
                    f"{amount(ledger.group_payload_bytes)}"
                    if ledger.group_rounds
                    else ""
                ),
            ),
            (
                "time",
                f"{duration(seconds)} of training: {1 - waiting - sending:.1%} computing, "
                f"{waiting:.1%} waiting, {sending:.1%} communicating",
            ),
            ("records", str(folder)),
            ("figures", f"prsgd figures {folder.parent}"),
        ):
            table.add_row(name, Text(value))
        show(table)
