"""What `prsgd train` shows beside the training itself: the plan, what is skipped, the results."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from prsgd.console import amount, cells, duration, say, show
from prsgd.cost import estimate
from prsgd.launch.sweep import PlannedRun
from prsgd.run_folder import ENDED, RunFolder


def show_plan(planned: Sequence[PlannedRun]) -> None:
    """What a dry run prints."""
    measured: dict[str, float] = {}
    lines, seconds = zip(*(forecast(own, measured) for own in planned), strict=True)
    table = Table(*lines[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*cells(line.values()))
    show(table)
    total = sum(seconds)
    counted = f"{len(lines)} run{'s' if len(lines) > 1 else ''} planned"
    left = f"about {duration(total)} of training" if total else "nothing left to train"
    say(f"{counted}, {left}; nothing was started")


def forecast(planned: PlannedRun, measured: dict[str, float]) -> tuple[dict[str, str], float]:
    """A line of the plan, and the seconds of training in it; `measured` is `estimate.seconds`'s."""
    run, steps = planned.run, planned.steps
    cost = estimate.communication(run, run.samples(), planned.sizes or estimate.sizes(run))
    about = "about " if cost.guessed else ""
    rounds, sent = f"{cost.rounds:,}", amount(cost.payload_bytes)
    if cost.group_rounds:
        rounds += f" + {cost.group_rounds:,} in groups"
        sent += f" + {amount(cost.group_payload_bytes)} in groups"
    if run.fragments > 1 or run.delay:
        sent += f", {amount(cost.burst.largest)} at once"
    status = planned.folder.status()[0]
    done = status in ENDED
    seconds = (
        0.0 if done else estimate.seconds(run, planned.plan, run.info(run.samples()), measured)
    )
    line = {
        "run": planned.folder.path.name,
        "model": run.model.title,
        "data": run.data.name(),
        "processes": f"{planned.plan.processes} × {planned.plan.threads} threads",
        "steps": f"{steps:,}",
        "rounds": about + rounds,
        "sent by a worker": about + sent,
        "training takes": "-" if done else f"about {duration(seconds)}",
        "status": status,
    }
    return line, seconds


def show_results(folders: Sequence[RunFolder]) -> None:
    """The table that ends a sweep."""
    titles = dict.fromkeys(f"test {folder.measures().main.title}" for folder in folders)
    columns = ("run", "status", "training loss", " or ".join(titles), "rounds", "sent", "time")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for folder in folders:
        status, why = folder.status()
        last = folder.last_metrics()
        row = [folder.path.name, f"{status}: {why}" if why else status]
        if last:
            row += [
                f"{last['consensus_train_loss']:.4f}",
                folder.measures().main.shown(last[folder.measures().main.column]),
                f"{last['round']:,.0f}",
                amount(last["payload_bytes"]),
                duration(last["train_seconds"]),
            ]
        table.add_row(*cells(row))
    show(table)
