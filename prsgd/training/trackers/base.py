"""What a tracker is told. The main process alone has trackers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prsgd.config.plan import Job
from prsgd.distributed.ledger import Ledger


@dataclass(frozen=True)
class Outcome:
    """How a run ended: done, diverged, or interrupted by a signal."""

    status: str
    why: str = ""
    signal: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a run is after step t."""

    t: int
    epoch: float
    rounds: int
    loss: float | None  # mean mini-batch loss since the last row; None if unknown


class Tracker:
    """Follows one run. Each method does nothing unless a tracker defines it."""

    def start(self, job: Job, steps: int, step: int, ledger: Ledger) -> None:
        """Training begins after `step` of T = `steps`; a step above 0 means that it resumes."""

    def note(self, line: str) -> None:
        """Something that the user should know."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def log(self, row: dict[str, Any]) -> None:
        """A row of metrics.csv."""

    def log_rounds(self, rows: list[dict[str, Any]]) -> None:
        """Rows of rounds.csv: the rounds since the last call."""

    def finish(self, outcome: Outcome) -> None:
        """The run has ended."""

    def close(self) -> None:
        """Release what it holds, after `finish` or an error."""
