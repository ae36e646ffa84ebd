"""Runs that did not finish: figures leave them out, and yet they were tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prsgd.config.naming import curve_config
from prsgd.config.schema import with_groups
from prsgd.report.checks import check_config, check_curve
from prsgd.run_folder import RunFolder


@dataclass(frozen=True)
class Attempt:
    """A run that did not finish. `config` has what decides its curve, as that of a record has."""

    path: Path
    config: dict[str, Any]
    fingerprint: str | None  # of the data; None before the first start
    has_diverged: bool


def attempts(left_out: Iterable[Path]) -> list[Attempt]:
    """Those of the runs left out that did not finish and whose configuration can be read."""
    found = []
    for path in left_out:
        try:
            found += _attempt(RunFolder(path))
        except Exception:  # a record is a file, and anybody may have written it
            continue
    return found


def _attempt(folder: RunFolder) -> list[Attempt]:
    status, _ = folder.status()
    if status == "done":
        return []
    config = with_groups(folder.config())
    check_config(config)
    curve = curve_config(config)
    check_curve(curve)
    return [Attempt(folder.path, curve, folder.fingerprint(), status == "diverged")]
