"""Trackers of other packages: each is told a row once, and training goes on if one fails."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from prsgd.config.plan import Job
from prsgd.console import print_error
from prsgd.distributed.ledger import Ledger
from prsgd.errors import why
from prsgd.files import scratch_folder, write_atomically
from prsgd.report import draw_run
from prsgd.training.trackers.base import Outcome, Tracker

BOOKS = {"tensorboard": "TensorBoardBook", "wandb": "WandbBook", "mlflow": "MlflowBook"}
STATE = "trackers.json"  # in the run folder: each tracker's own name of the run, and its last steps


class Book(ABC):
    """One run as a package keeps it. Any of these may raise."""

    @abstractmethod
    def begin(self, job: Job, key: str) -> str:
        """Open it. `key` is what this returned when the run began, or empty; then it is new."""

    @abstractmethod
    def write(self, numbers: dict[str, float], t: int) -> None:
        """What was measured in step t."""

    @abstractmethod
    def end(self, outcome: Outcome, figures: list[Path]) -> None:
        """The run has ended; the figures are png files."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """Write down what is left. `failed` says that an error came before `end`."""


def external(name: str, folder: Path) -> ExternalTracker:
    """The tracker of this name, for the run in `folder`; its package is imported when it starts."""

    def book() -> Book:
        own: Book = getattr(import_module(f"prsgd.training.trackers.{name}"), BOOKS[name])()
        return own

    return ExternalTracker(name, book, folder)


class ExternalTracker(Tracker):
    """Keeps a book. A run that goes on goes on in it, and what it has is not written again."""

    def __init__(self, name: str, make: Callable[[], Book], folder: Path) -> None:
        """`make` makes the book, and may raise too."""
        self.name = name
        self.make = make
        self.folder = folder
        self.works = False  # as it does from its start on, until it fails
        self.ended = False  # whether the book has been told how the run ended

    def start(self, job: Job, steps: int, step: int, ledger: Ledger) -> None:
        def begin() -> None:
            self.book = self.make()
            self._keep(key=self.book.begin(job, self._own().get("key", "")))

        self.works = True
        self._try(begin)

    def log(self, row: dict[str, Any]) -> None:
        self._try(lambda: self._write("rows", "", [row]))

    def log_rounds(self, rows: list[dict[str, Any]]) -> None:
        self._try(lambda: self._write("rounds", "round/", rows))

    def finish(self, outcome: Outcome) -> None:
        def end() -> None:
            with scratch_folder() as scratch:
                figures = draw_run(self.folder, scratch) if outcome.status == "done" else []
                self.book.end(outcome, figures)
            self.ended = True

        self._try(end)

    def close(self) -> None:
        self._try(lambda: self.book.close(failed=not self.ended))

    def _write(self, kind: str, prefix: str, rows: list[dict[str, Any]]) -> None:
        written = self._own().get(kind, -1)
        rows = [row for row in rows if row["step"] > written]
        for row in rows:
            numbers = {f"{prefix}{k}": float(v) for k, v in row.items() if not isinstance(v, str)}
            self.book.write(numbers, row["step"])
        if rows:
            self._keep(**{kind: rows[-1]["step"]})

    def _own(self) -> dict[str, Any]:
        """What is kept of this tracker."""
        own: dict[str, Any] = self._state().get(self.name, {})
        return own

    def _state(self) -> dict[str, Any]:
        path = self.folder / STATE
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _keep(self, **more: Any) -> None:
        state = self._state()
        state[self.name] = {**state.get(self.name, {}), **more}
        write_atomically(self.folder / STATE, json.dumps(state, indent=2) + "\n")

    def _try(self, work: Callable[[], None]) -> None:
        if not self.works:
            return
        try:
            work()
        except Exception as error:
            self.works = False
            print_error(f"tracker={self.name} failed ({why(error)}); training goes on without it")


def new_key() -> str:
    """A name that no other run has."""
    return uuid4().hex
