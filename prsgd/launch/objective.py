"""What a job of Hydra's returns: the value that a sweeper optimises, and how its runs ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prsgd.config.schema import Run
from prsgd.errors import UserError
from prsgd.run_folder import RunFolder, tables_of


@dataclass(frozen=True)
class Ended:
    """How a job ended. `codes` are the exit codes of its runs by folder, finished ones included.

    `objective` is the mean over the runs; None where one of them failed or was interrupted.
    """

    objective: float | None
    codes: Mapping[Path, int]

    @property
    def signal(self) -> int:
        """The exit code of a run that a signal stopped, or 0."""
        return next((code for code in self.codes.values() if code >= 128), 0)


def check_objective(column: str, runs: Sequence[Run]) -> None:
    """Refuse a column that the runs' metrics.csv does not have."""
    for run in runs:
        allowed = tables_of(run.measures())["metrics.csv"]
        if column not in allowed:
            raise UserError(
                f"objective={column}: must be a column of metrics.csv: {', '.join(allowed)}"
            )


def ended(codes: Mapping[Path, int], column: str, maximise: bool) -> Ended:
    """What runs come to that ended with these exit codes, by their last rows of `column`.

    A run that diverged is worse than any other.
    """
    worst = -math.inf if maximise else math.inf
    values = list[float | None]()
    for path in codes:
        folder = RunFolder(path)
        status, _ = folder.status()
        if status == "diverged":
            values.append(worst)
        elif status == "done" and column in (last := folder.last_metrics()):
            values.append(last[column])
    return Ended(mean(values, len(codes)), codes)


def mean(values: Sequence[float | None], runs: int) -> float | None:
    """The mean over so many runs; None where one of them has no value."""
    found = [value for value in values if value is not None]
    return sum(found) / runs if found and len(found) == runs else None
