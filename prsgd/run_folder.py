"""The run folder: every file of a run but its tensors. Standard library and yaml only.

config.yaml        the version of this layout, the columns of the tables, the resolved configuration
environment.json   versions, machine, processes, data label and fingerprint
metrics.csv        a row at t = 0, after each epoch, and at the end
rounds.csv         a row per averaging
status.json        {"status": running | done | diverged | failed | interrupted, "why": ...}
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from prsgd.errors import UserError
from prsgd.files import appending, cut, read_bytes, remove_leftovers, write_atomically
from prsgd.locks import Taken, held
from prsgd.measures import OF_IMAGES, Measures
from prsgd.plain_yaml import read_yaml

VERSION = 2
HEAD = ("version", "tables", "measures")  # of config.yaml, before the configuration
BEFORE_METRICS = (
    *("step", "epoch", "round", "lr", "train_loss", "consensus_train_loss", "test_loss"),
)
AFTER_METRICS = (
    *("drift", "g2", "virtual_time", "payload_bytes", "wire_bytes", "download_bytes"),
    *("burst_bytes", "group_round", "group_payload_bytes", "comm_seconds", "wait_seconds"),
    "train_seconds",
)
ROUNDS = (
    *("step", "group", "local_steps", "virtual_time", "drift", "payload_bytes", "download_bytes"),
    "seconds",
)
# which records of earlier versions lack
NEW_COLUMNS = ("download_bytes", "burst_bytes", "wait_seconds")
TABLES = ("metrics.csv", "rounds.csv")
STATES = ("status.json", "environment.json")


def tables_of(measures: Measures) -> dict[str, list[str]]:
    """The columns of the tables of a run that measures so."""
    metrics = (metric.column for metric in measures.metrics)
    return {
        "metrics.csv": [*BEFORE_METRICS, *metrics, *AFTER_METRICS, measures.speed],
        "rounds.csv": [*ROUNDS],
    }


ENDED = ("done", "diverged")


def unreadable(path: Path, error: OSError) -> UserError:
    """The error for a file of a record that is there and cannot be read."""
    return UserError(
        f"{path} cannot be read ({error.strerror}); it must be a file that you may read"
    )


class RunFolder:
    """The records of one run at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    def has_checkpoint(self) -> bool:
        """Whether there is any, whole or damaged."""
        return any(self.checkpoints.glob("[0-9]*/manifest.json"))

    def create(self, config: Mapping[str, Any], measures: Measures) -> None:
        """Make the folder with its configuration; an existing one keeps what it holds."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "config.yaml").exists():
                head = {"version": VERSION, "tables": tables_of(measures)}
                record = {**head, "measures": measures.as_dict(), **config}
                text = yaml.safe_dump(record, sort_keys=False)
                write_atomically(self.path / "config.yaml", text)
        except OSError as error:
            raise UserError(
                f"out: {self.path} cannot be written ({error.strerror}); "
                "it must be in a folder that you may write to"
            ) from error

    @contextmanager
    def held(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Keep every other process from training here; `UserError` says who does already."""
        try:
            with held(self.path / ".lock", warn):
                remove_leftovers(self.path, (*TABLES, "config.yaml", *STATES))
                yield
        except Taken as error:
            raise UserError(f"{self.path} is being trained by {error}") from error

    def config(self) -> dict[str, Any]:
        """The plain configuration."""
        own = {k: v for k, v in self._record.items() if k not in HEAD}
        return {"remainder": "drop", **own} if self.version == 1 else own

    @property
    def version(self) -> int:
        """That of the record, which is 1 for runs that version 0.1 began."""
        version: int = self._record["version"]
        return version

    def tables(self) -> dict[str, list[str]]:
        """The columns of each table, as this record declares them."""
        found: Mapping[str, Sequence[str]] = tables_of(OF_IMAGES)
        if (self.path / "config.yaml").exists():
            first = {name: [c for c in found[name] if c not in NEW_COLUMNS] for name in found}
            found = self._record.get("tables", first)
        return {name: list(columns) for name, columns in found.items()}

    def measures(self) -> Measures:
        """What the run measures. Records that do not say so are of images."""
        try:
            return Measures.of(self._record.get("measures", OF_IMAGES.as_dict()))
        except (TypeError, KeyError) as error:
            path = self.path / "config.yaml"
            raise UserError(f"{path} is damaged: its measures cannot be read ({error})") from error

    @cached_property
    def _record(self) -> dict[str, Any]:
        path = self.path / "config.yaml"
        try:
            record = read_yaml(read_bytes(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml") from error
        except OSError as error:
            raise unreadable(path, error) from error
        except (ValueError, TypeError) as error:  # as a number of 5,000 digits, or a list as a key
            raise UserError(f"{path} is damaged: {error}") from error
        if not isinstance(record, dict) or "version" not in record:
            raise UserError(f"{path} is damaged: it must be a mapping with a version")
        if record["version"] not in (1, VERSION):
            raise UserError(
                f"{path} has version {record['version']}; this prsgd reads versions 1 and {VERSION}"
            )
        tables = record.get("tables", dict.fromkeys(TABLES))
        if not isinstance(tables, dict) or {*tables} != {*TABLES}:
            raise UserError(f"{path} is damaged: its tables must be {', '.join(TABLES)}")
        return record

    def status(self) -> tuple[str, str]:
        """(status, why); ("new", "") before the first start."""
        try:
            status = json.loads(read_bytes(self.path / "status.json"))
            return str(status["status"]), str(status["why"])
        except FileNotFoundError:
            return "new", ""
        except OSError as error:
            raise unreadable(self.path / "status.json", error) from error
        except (ValueError, KeyError, TypeError, RecursionError):
            return "failed", "status.json is damaged"

    def set_status(self, status: str, why: str = "") -> None:
        write_atomically(
            self.path / "status.json", json.dumps({"status": status, "why": why}) + "\n"
        )

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_atomically(
            self.path / "environment.json", json.dumps(environment, indent=2, default=str) + "\n"
        )

    def environment(self) -> dict[str, Any]:
        """What the run was computed with; empty before the first start."""
        try:
            environment = json.loads(read_bytes(self.path / "environment.json"))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        except OSError as error:
            raise unreadable(self.path / "environment.json", error) from error
        return environment if isinstance(environment, dict) else {}

    def fingerprint(self) -> str | None:
        """Of the data that the run was started with; None before the first start."""
        return self.environment().get("data_fingerprint")

    def begin_tables(self) -> None:
        """Write the tables anew, with their column names only."""
        for name, columns in self.tables().items():
            write_atomically(self.path / name, ",".join(columns) + "\n")

    def measure_tables(self) -> dict[str, list[Any]]:
        """The size and the SHA-256 of each table as it is now."""
        texts = {name: read_bytes(self.path / name) for name in self.tables()}
        return {name: [len(text), sha256(text).hexdigest()] for name, text in texts.items()}

    def damage(self, measured: Mapping[str, list[Any]]) -> str:
        """Why a run cannot go on with tables that were measured so; empty if it can."""
        for name, (size, checksum) in measured.items():
            try:
                text = read_bytes(self.path / name)[:size]
            except FileNotFoundError:
                return f"needs {name}, which is gone"
            except OSError as error:
                raise unreadable(self.path / name, error) from error
            if sha256(text).hexdigest() != checksum:
                return f"does not fit {name}, which is damaged"
            if text.partition(b"\n")[0].decode() != ",".join(self.tables()[name]):
                return f"is of another version: {name} has other columns"
        return ""

    def cut_tables(self, measured: Mapping[str, list[Any]]) -> None:
        """Cut the tables to what was there when they were measured, for a run that resumes."""
        for name, (size, _) in measured.items():
            cut(self.path / name, size)

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a table, in the columns that this record declares."""
        try:
            with appending(self.path / name) as file:
                writer = csv.DictWriter(
                    file, self.tables()[name], extrasaction="ignore", lineterminator="\n"
                )
                writer.writerows(rows)
        except FileNotFoundError as error:
            raise UserError(f"{self.path / name} was removed while the run was trained") from error

    def last_metrics(self) -> dict[str, float]:
        """The last row of metrics.csv as numbers; empty where there is none."""
        try:
            text = read_bytes(self.path / "metrics.csv").decode()
            last = list(csv.DictReader(text.splitlines()))[-1]
            return {name: float(last[name]) for name in self.tables()["metrics.csv"]}
        except (OSError, IndexError, KeyError, ValueError, TypeError):
            return {}
