"""What a person sees of one run: a live bar on a terminal, a line per row elsewhere."""

from __future__ import annotations

from typing import Any

from prsgd.config.plan import Job
from prsgd.config.schema import Run
from prsgd.console import amount, duration
from prsgd.distributed.ledger import Ledger
from prsgd.run_folder import RunFolder
from prsgd.training.trackers.base import Outcome, Progress, Tracker
from prsgd.training.trackers.lines import Line

SHORT = {"images": "img", "tokens": "tok"}


class ConsoleTracker(Tracker):
    """Shows a run on its line of the screen."""

    def __init__(self, line: Line, run: Run) -> None:
        self.line = line
        self.epochs = run.epochs
        self.is_streamed = run.fragments > 1 or run.delay > 0
        self.measures = run.measures()
        self.unit = SHORT.get(self.measures.unit, self.measures.unit)
        self.metric = ""
        self.row: dict[str, Any] = {}

    def start(self, job: Job, steps: int, step: int, ledger: Ledger) -> None:
        self.folder, self.ledger = RunFolder(job.folder), ledger
        self.units_per_step = job.run.units_per_step(steps)
        self.line.update(total=steps, completed=step)
        if step:
            self.note(f"resuming at step {step:,} of {steps:,}")

    def note(self, line: str) -> None:
        self.line.say(line)

    def step(self, progress: Progress) -> None:
        if not self.line.live:
            return
        speed = self.line.speed * self.units_per_step
        state = f"epoch {progress.epoch:.1f}/{self.epochs:g}  round {progress.rounds:,}"
        if progress.loss is not None:
            state += f"  loss {progress.loss:.3f}"
        state += f"{self.metric}  {speed:,.0f} {self.unit}/s"
        self.line.update(completed=progress.t, state=state)

    def log(self, row: dict[str, Any]) -> None:
        self.row = row
        main = self.measures.main
        title = "test" if main.unit == "%" else main.title
        self.metric = f"  {title} {main.shown(row[main.column], 1)}"
        if self.line.live:
            return
        self.line.say(
            f"epoch {row['epoch']:.4g}/{self.epochs:g}  step {row['step']:,}"
            f"  round {row['round']:,}  loss {row['consensus_train_loss']:.3f}"
            f"{self.metric}  {row[self.measures.speed]:,.0f} {self.unit}/s"
            f"  sent {amount(row['payload_bytes'])}  {duration(row['train_seconds'])}"
        )

    def finish(self, outcome: Outcome) -> None:
        self.close()
        folder = self.folder.path
        if outcome.status != "done":
            self.line.say(f"{outcome.status}: {outcome.why}; records in {folder}")
            if outcome.status == "interrupted":
                self.line.say(f"to go on: the same command again, or prsgd run {folder}")
            return
        figures = f"prsgd figures {folder.parent}"
        self.line.end([*self._ended(), ("records", str(folder)), ("figures", figures)])

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
        self.line.stop()

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
