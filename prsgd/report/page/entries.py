"""Every run folder as the page tells of it, those that figures leave out included."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prsgd.config.command import command
from prsgd.config.completed import completed
from prsgd.errors import UserError
from prsgd.measures import Measures
from prsgd.report.curves import Group
from prsgd.run_folder import RunFolder

ROUNDS = "rounds"
COSTS = (ROUNDS, "sent (MB)", "time (s)")  # heads of what a run took


@dataclass(frozen=True)
class Entry:
    """A run whose configuration can be read, finished or not."""

    path: Path
    curve: str  # what figures call it; empty where they leave it out
    status: str
    config: dict[str, Any]  # with all keys
    keys: dict[str, str]  # the same, flat and as texts
    ends: dict[str, float]  # the last measurements, by their heads; empty where there is none
    command: str  # that makes it again; empty where there is none
    why: str  # there is no command
    environment: dict[str, Any]


def entries(groups: Iterable[Group], left_out: Iterable[Path]) -> list[Entry]:
    """The runs of the groups, and those of the runs left out whose records can be read."""
    curves = {run.path: c.label for group in groups for c in group.curves for run in c.runs}
    found = [_entry(path, label) for path, label in curves.items()]
    for path in left_out:
        try:
            found.append(_entry(path, ""))
        except Exception:  # a record is a file, and anybody may have written it
            continue
    return sorted(found, key=lambda entry: entry.path)


def _entry(path: Path, curve: str) -> Entry:
    folder = RunFolder(path)
    status, of_status = folder.status()
    config = completed(folder.config())
    again = why = ""
    try:
        again = command(config)
    except UserError as error:
        why = str(error)
    return Entry(
        path,
        curve,
        f"{status}: {of_status}" if of_status else status,
        config,
        flat(config),
        _ends(folder.last_metrics(), folder.measures()),
        again,
        why,
        folder.environment(),
    )


def _ends(last: Mapping[str, float], measures: Measures) -> dict[str, float]:
    if not last:
        return {}
    metrics = {
        f"test {m.title} ({m.unit})" if m.unit else f"test {m.title}": last[m.column]
        * (100 if m.unit == "%" else 1)
        for m in measures.metrics
    }
    costs = last["round"], last["payload_bytes"] / 1e6, last["train_seconds"]
    return {
        "training loss": last["consensus_train_loss"],
        **metrics,
        **dict(zip(COSTS, costs, strict=True)),
    }


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """{"data": {"size": 32}} as {"data.size": "32"}: each key of a record and its value as text."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= {f"{key}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def apart(configs: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The usual value of each key, and of each configuration what differs from it.

    A key that a configuration lacks is None in what differs.
    """
    usual = {
        key: Counter(config[key] for config in configs if key in config).most_common(1)[0][0]
        for key in dict.fromkeys(key for config in configs for key in config)
    }
    return usual, [
        {key: config.get(key) for key, value in usual.items() if config.get(key) != value}
        for config in configs
    ]
