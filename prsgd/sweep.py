"""Runs one after another: all are checked and planned before the first one starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from prsgd import console
from prsgd.config import Run, run_name
from prsgd.data.cache import prepare
from prsgd.errors import Refused
from prsgd.launch import cache_folder, gave_up, launch, plan_of, torchrun_rank
from prsgd.plan import Job, Plan, this_machine
from prsgd.records import ENDED, RunFolder

GRAVITY = (0, 3, 1)  # exit codes, the gravest last


@dataclass(frozen=True)
class Entry:
    """A run, how it would start, and its folder."""

    run: Run
    plan: Plan
    folder: RunFolder

    @property
    def steps(self) -> int:
        return self.run.steps(self.run.data.train_samples())


def execute(runs: list[tuple[Run, Path | None]], dry_run: bool) -> int:
    """Run them all, each in its own folder or in the one given; returns the exit code.

    Exit codes: 0 done, 1 failed, 3 diverged, 128 + signal stopped; the gravest of a sweep.
    """
    for run, folder in runs:
        run.steps(run.data.train_samples())
        check_writable(folder or Path(run.out).expanduser())
        if folder and RunFolder(folder).fingerprint() not in (None, run.data.fingerprint()):
            raise Refused(f"{folder}: the data have changed since it was started")
    entries = plan(runs)
    if dry_run:
        lines, seconds = zip(*map(forecast, entries), strict=True)
        console.show_plan(list(lines), sum(seconds))
        return 0
    speaks = not torchrun_rank()
    pending = []
    for entry in entries:
        status, why = entry.folder.status()
        if (entry.folder.path / "config.yaml").exists():
            entry.folder.config()
        if status in ENDED:
            if speaks:
                console.show_skipped(
                    *(entry.folder.path, status, why, entry.folder.last_metrics()),
                    profile=entry.run.profile,
                )
        else:
            pending.append(entry)
    codes = train_all(pending, len(entries))
    if torchrun_rank() is not None:  # an agent takes any other code for a crash, and may try again
        return 1 if 1 in codes else 0
    if len(entries) > 1:
        console.show_results([entry.folder for entry in entries])
    if codes and codes[-1] >= 128:
        return codes[-1]
    diverged = any(entry.folder.status()[0] == "diverged" for entry in entries)
    return max([*codes, 3 if diverged else 0], key=GRAVITY.index)


def plan(runs: list[tuple[Run, Path | None]]) -> list[Entry]:
    """Decide how and where each would run; of runs with the same name only the first is kept."""
    if torchrun_rank() is not None and len(runs) > 1:
        raise Refused("-m: a sweep cannot run under torchrun; start one torchrun per run")
    machine = this_machine()
    entries: dict[Path, Entry] = {}
    for run, given in runs:
        how = plan_of(run, machine, alone=len(runs) == 1)
        decided = replace(run, precision=how.precision)
        path = given or Path(run.out).expanduser() / run_name(
            run, how.precision, run.data.fingerprint()
        )
        entries.setdefault(path, Entry(decided, how, RunFolder(path)))
    return list(entries.values())


def train_all(entries: list[Entry], planned: int) -> list[int]:
    """Start one after another, until a signal ends one; returns their exit codes."""
    caches = [prepare(entry.run.data, cache_folder(), console.track) for entry in entries]
    codes: list[int] = []
    for number, (entry, cache) in enumerate(zip(entries, caches, strict=True), 1):
        name = entry.folder.path.name
        title = name if planned == 1 else f"[{number}/{len(entries)}] {name}"
        job = Job(entry.run, entry.plan, entry.folder.path, cache, title)
        codes.append(launch(job) if torchrun_rank() else start(entry, job))
        if codes[-1] >= 128:
            break
    return codes


def start(entry: Entry, job: Job) -> int:
    """Launch it as the one that writes its records; returns the exit code."""
    entry.folder.create(entry.run.as_dict())
    try:
        with entry.folder.held():
            if gave_up(entry.folder):
                raise Refused(f"{job.folder.name} failed: {entry.folder.status()[1]}")
            entry.folder.set_status("running")
            return launch(job)
    except Refused as refusal:
        console.refuse(str(refusal))
        return 1


def forecast(entry: Entry) -> tuple[dict[str, str], float]:
    """A line of the plan, and the seconds of training in it."""
    from prsgd import estimate

    run, steps = entry.run, entry.steps
    cost = estimate.tally(run, run.data.train_samples())
    about = "about " if cost.guessed else ""
    inner = f" + {cost.group_rounds:,} in groups" if cost.group_rounds else ""
    sent = console.amount(cost.payload_bytes)
    if cost.group_rounds:
        sent += f" + {console.amount(cost.group_payload_bytes)} in groups"
    status = entry.folder.status()[0]
    done = status in ENDED
    seconds = 0.0 if done else estimate.seconds(run, entry.plan, steps)
    line = {
        "run": entry.folder.path.name,
        "model": run.model.title,
        "data": run.data.name(),
        "processes": f"{entry.plan.processes} × {entry.plan.threads} threads",
        "steps": f"{steps:,}",
        "rounds": f"{about}{cost.rounds:,}{inner}",
        "sent by a worker": about + sent,
        "training takes": "-" if done else f"about {console.duration(seconds)}",
        "status": status,
    }
    return line, seconds


def check_writable(folder: Path) -> None:
    """Refuse an `out` that could not be made or written, without making it."""
    for parent in (folder, *folder.absolute().parents):
        if parent.exists():
            if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
                return
            break
    raise Refused(f"out={folder}: cannot be written; it must be in a folder that you may write to")
