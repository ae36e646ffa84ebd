"""What a person sees of one run: a live bar on a terminal, a line per row elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from threading import current_thread, main_thread
from typing import Any

from rich import progress as bars
from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from prsgd.config.plan import Job
from prsgd.config.schema import Run
from prsgd.console import amount, console, duration, printable, say, show_pairs
from prsgd.distributed.ledger import Ledger
from prsgd.run_folder import RunFolder
from prsgd.training.trackers.base import Outcome, Progress, Tracker

ONE_LINE = 130  # letters that a bar and what is known of a run need
STATE = bars.TextColumn("{task.fields[state]}")
SHORT = {"images": "img", "tokens": "tok"}


class Bar(bars.Progress):
    """One line where there is room for it, and else what is known of the run in a second."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if STATE not in self.columns:
            yield from (Text(task.fields["state"], no_wrap=True) for task in self.tasks)


class ConsoleTracker(Tracker):
    """Draws the run called `title` on the terminal."""

    def __init__(self, title: str, run: Run) -> None:
        self.epochs = run.epochs
        self.is_streamed = run.fragments > 1 or run.delay > 0
        self.measures = run.measures()
        self.unit = SHORT.get(self.measures.unit, self.measures.unit)
        self.live = console.is_terminal and current_thread() is main_thread()
        self.bar = Bar(
            bars.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            bars.BarColumn(bar_width=20),
            *([STATE] if console.width >= ONE_LINE else []),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,
            disable=not self.live,
        )
        self.task = self.bar.add_task(printable(title), total=None, state="")
        self.bar.start()
        self.metric = ""
        self.row: dict[str, Any] = {}
        self._say(title)

    def start(self, job: Job, steps: int, step: int, ledger: Ledger) -> None:
        self.folder, self.ledger = RunFolder(job.folder), ledger
        self.units_per_step = job.run.units_per_step(steps)
        self.bar.update(self.task, total=steps, completed=step)
        if step:
            self.note(f"resuming at step {step:,} of {steps:,}")

    def note(self, line: str) -> None:
        say(line)

    def step(self, progress: Progress) -> None:
        if not self.live:
            return
        speed = (self.bar.tasks[0].speed or 0) * self.units_per_step
        state = f"epoch {progress.epoch:.1f}/{self.epochs:g}  round {progress.rounds:,}"
        if progress.loss is not None:
            state += f"  loss {progress.loss:.3f}"
        state += f"{self.metric}  {speed:,.0f} {self.unit}/s"
        self.bar.update(self.task, completed=progress.t, state=state)

    def log(self, row: dict[str, Any]) -> None:
        self.row = row
        main = self.measures.main
        title = "test" if main.unit == "%" else main.title
        self.metric = f"  {title} {main.shown(row[main.column], 1)}"
        self._say(
            f"epoch {row['epoch']:.4g}/{self.epochs:g}  step {row['step']:,}"
            f"  round {row['round']:,}  loss {row['consensus_train_loss']:.3f}"
            f"{self.metric}  {row[self.measures.speed]:,.0f} {self.unit}/s"
            f"  sent {amount(row['payload_bytes'])}  {duration(row['train_seconds'])}"
        )

    def finish(self, outcome: Outcome) -> None:
        self.close()
        folder = self.folder.path
        if outcome.status != "done":
            say(f"{outcome.status}: {outcome.why}; records in {folder}")
            if outcome.status == "interrupted":
                say(f"to go on: the same command again, or prsgd run {folder}")
            return
        figures = f"prsgd figures {folder.parent}"
        show_pairs([*self._ended(), ("records", str(folder)), ("figures", figures)])

    def _ended(self) -> list[tuple[str, str]]:
        """What came out, from the last row; nothing where there is none."""
        row = self.row or self.folder.last_metrics()
        if not row:
            return []
        main = self.measures.main
        return [
            ("training loss", f"{row['consensus_train_loss']:.4f} (of the average model)"),
            (f"test {main.title}", f"{main.shown(row[main.column])}, loss {row['test_loss']:.4f}"),
            ("communication", self._communication(row)),
            ("time", self._time(row["train_seconds"])),
        ]

    def close(self) -> None:
        self.bar.stop()

    def _say(self, line: str) -> None:
        if not self.live:
            say(line)

    def _communication(self, row: dict[str, float]) -> str:
        ledger = self.ledger
        sent = (
            f"{ledger.rounds:,} rounds, {amount(row['payload_bytes'])} sent by each worker, "
            f"{amount(row['wire_bytes'])} on a ring's wire"
        )
        if self.is_streamed:
            sent += f", {amount(ledger.burst.largest)} at once"
        if ledger.download_bytes:
            sent += f", {amount(ledger.download_bytes)} of it fetched by workers that were idle"
        if ledger.group_rounds:
            within = amount(ledger.group_payload_bytes)
            sent += f"; in groups {ledger.group_rounds:,} rounds, {within}"
        return sent

    def _time(self, seconds: float) -> str:
        waiting, sending = self.ledger.wait_seconds / seconds, self.ledger.comm_seconds / seconds
        return (
            f"{duration(seconds)} of training: {1 - waiting - sending:.1%} computing, "
            f"{waiting:.1%} waiting, {sending:.1%} communicating"
        )
