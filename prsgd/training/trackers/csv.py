"""metrics.csv and rounds.csv: the record of a run."""

from __future__ import annotations

from typing import Any

from prsgd.run_folder import RunFolder
from prsgd.training.trackers.base import Tracker


class CsvTracker(Tracker):
    """Appends to the tables of the run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def log(self, row: dict[str, Any]) -> None:
        self.folder.append("metrics.csv", [row])

    def log_rounds(self, rows: list[dict[str, Any]]) -> None:
        self.folder.append("rounds.csv", rows)
