"""Which runs are drawn: those that have the values that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prsgd.errors import UserError
from prsgd.report.attempts import Attempt
from prsgd.report.declared import full_name
from prsgd.report.runs import RunRecord


def those_with(
    runs: Sequence[RunRecord], tried: Sequence[Attempt], where: Sequence[str]
) -> tuple[list[RunRecord], list[Attempt]]:
    """The runs, and what was `tried`, of which each KEY=VALUE,... in `where` names a key's value.

    Raises a UserError for what no run has.
    """
    chosen, attempts = [*runs], [*tried]
    known = {key for run in runs for key in run.config}
    for text in where:
        name, equals, wanted = text.partition("=")
        key = full_name(name, known)
        if not equals or key not in known:
            raise UserError(
                f"--where={text}: must be KEY=VALUE with a key of the runs, as in interval=8,32"
            )
        values = [value_in(value) for value in wanted.split(",")]
        there = dict.fromkeys(str(run.config.get(key)) for run in chosen)
        chosen = [run for run in chosen if run.config.get(key) in values]
        if not chosen:
            raise UserError(f"--where={text}: no run has that; there are {', '.join(there)}")
        attempts = [attempt for attempt in attempts if attempt.config.get(key) in values]
    return chosen, attempts


def value_in(text: str) -> Any:
    """A value as a configuration has it: a number, true, null, or a word."""
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False, "null": None}.get(text, text)
