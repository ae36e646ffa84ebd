"""The run folder: every file of a run but its tensors. Standard library and yaml only.

config.yaml        the resolved configuration, and the version of this layout
environment.json   versions, machine, processes, data label and fingerprint
metrics.csv        a row at t = 0, after each epoch, and at the end
rounds.csv         a row per averaging
status.json        {"status": running | done | diverged | failed | interrupted, "why": ...}
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from prsgd.errors import Refused

VERSION = 1
METRICS = (
    "step",
    "epoch",
    "round",
    "lr",
    "train_loss",
    "consensus_train_loss",
    "test_loss",
    "test_accuracy",
    "drift",
    "payload_bytes",
    "wire_bytes",
    "comm_seconds",
    "train_seconds",
    "images_per_second",
)
ROUNDS = ("step", "drift", "payload_bytes", "seconds")
TIMINGS = ("comm_seconds", "train_seconds", "images_per_second", "seconds")
ENDED = ("done", "diverged")


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at once: a reader sees the old text or the new, whatever happens."""
    half_done = path.with_name(f".{path.name}.{os.getpid()}")
    with half_done.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half_done.replace(path)


class RunFolder:
    """The records of one run at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the folder with its configuration; an existing one keeps what it holds."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "config.yaml").exists():
                text = yaml.safe_dump({"version": VERSION, **config}, sort_keys=False)
                write_atomically(self.path / "config.yaml", text)
        except OSError as error:
            raise Refused(
                f"out: {self.path} cannot be written ({error.strerror}); "
                "it must be in a folder that you may write to"
            ) from error

    def config(self) -> dict[str, Any]:
        """The configuration, without the version."""
        path = self.path / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text())
        except FileNotFoundError as error:
            raise Refused(f"{self.path} is not a run folder: it has no config.yaml") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Refused(f"{path} is damaged: it is not valid YAML") from error
        if not isinstance(config, dict) or "version" not in config:
            raise Refused(f"{path} is damaged: it must be a mapping with a version")
        if (version := config.pop("version")) != VERSION:
            raise Refused(f"{path} has version {version}; this prsgd reads version {VERSION}")
        return config

    def status(self) -> tuple[str, str]:
        """(status, why); ("new", "") before the first start."""
        try:
            status = json.loads((self.path / "status.json").read_text())
            return status["status"], status["why"]
        except FileNotFoundError:
            return "new", ""
        except (ValueError, KeyError, TypeError):
            return "failed", "status.json is damaged"

    def set_status(self, status: str, why: str = "") -> None:
        write_atomically(
            self.path / "status.json", json.dumps({"status": status, "why": why}) + "\n"
        )

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_atomically(
            self.path / "environment.json", json.dumps(environment, indent=2, default=str) + "\n"
        )

    def fingerprint(self) -> str | None:
        """Of the data that the run was started with; None before the first start."""
        try:
            environment = json.loads((self.path / "environment.json").read_text())
            return str(environment["data_fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin_tables(self, step: int | None) -> None:
        """Start both tables anew, or keep their rows up to `step` where a run resumes there."""
        for name, columns in (("metrics.csv", METRICS), ("rounds.csv", ROUNDS)):
            kept = []
            if step is not None:
                with (self.path / name).open(newline="") as file:
                    kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
            lines = [",".join(columns), *(",".join(row.values()) for row in kept)]
            write_atomically(self.path / name, "\n".join(lines) + "\n")

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        self._append("metrics.csv", METRICS, [row])

    def append_rounds(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._append("rounds.csv", ROUNDS, rows)

    def _append(
        self, name: str, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]
    ) -> None:
        with (self.path / name).open("a", newline="") as file:
            csv.DictWriter(file, columns, lineterminator="\n").writerows(rows)

    def last_metrics(self) -> dict[str, float]:
        """The last row of metrics.csv as numbers; empty where there is none."""
        try:
            with (self.path / "metrics.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            return {name: float(value) for name, value in rows[-1].items()}
        except (OSError, IndexError, ValueError, TypeError):
            return {}
