"""What `prsgd train` shows beside the training itself: the plan, what is skipped, the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from prsgd.config.swept import swept
from prsgd.console import amount, cells, duration, fits, say, show, show_pairs
from prsgd.cost import estimate
from prsgd.launch.planning import PlannedRun
from prsgd.run_folder import ENDED, RunFolder

Lines = Sequence[Mapping[str, str]]  # a row each, by column


def show_plan(planned: Sequence[PlannedRun]) -> None:
    """What a dry run prints: what all runs have in common first, and then a table."""
    measured: dict[str, estimate.Gradient] = {}
    lines, seconds = zip(*(forecast(own, measured) for own in planned), strict=True)
    settings = swept([p.run.as_dict() for p in planned])
    common = {k: v for k, v in lines[0].items() if all(line[k] == v for line in lines)}
    common = {k: v for k, v in common.items() if k not in ("status", "time", "run")}
    if len(planned) == 1:
        common = dict(lines[0])
    show_pairs(common.items())
    if len(planned) > 1:
        show_lines(
            [
                {**setting, **{k: v for k, v in line.items() if k not in common}}
                for setting, line in zip(settings, lines, strict=True)
            ]
        )
    total = sum(seconds)
    counted = f"{len(lines)} run{'s' if len(lines) > 1 else ''} planned"
    left = f"about {duration(total)} of training" if total else "nothing left to train"
    say(f"{counted}, {left}; nothing was started")


def forecast(
    planned: PlannedRun, measured: dict[str, estimate.Gradient]
) -> tuple[dict[str, str], float]:
    """A line of the plan, and the seconds of training in it; `measured` is of `estimate`."""
    run, plan, steps = planned.run, planned.plan, planned.steps
    sizes = planned.sizes or estimate.sizes(run)
    cost = estimate.communication(run, run.samples(), sizes)
    about = "about " if cost.guessed else ""
    rounds, sent = f"{cost.rounds:,}", amount(cost.payload_bytes)
    if cost.group_rounds:
        rounds += f" + {cost.group_rounds:,} in groups"
        sent += f" + {amount(cost.group_payload_bytes)} in groups"
    if run.participation < 1:
        sent += ", downloads not counted"
    if run.fragments > 1 or run.delay:
        sent += f", {amount(cost.burst.largest)} at once"
    status = planned.folder.status()[0]
    done = status in ENDED
    seconds, memory = 0.0, "-"
    if not done:
        gradient = estimate.gradient(run, plan, measured)
        seconds = estimate.seconds(run, plan, run.info(run.samples()), gradient)
        each = amount(estimate.process_memory(run, plan, sizes, gradient))
        memory = f"about {each}" if plan.processes == 1 else f"about {plan.processes} × {each}"
    line = {
        "model": run.model.title,
        "data": run.data.name(),
        "processes": f"{plan.processes} × {plan.threads} threads",
        "memory": memory,
        "steps": f"{steps:,}",
        "rounds": about + rounds,
        "sent": about + sent,
        "time": "-" if done else f"about {duration(seconds)}",
        "status": status,
        "run": planned.folder.path.name,
    }
    return line, seconds


def show_results(folders: Sequence[RunFolder]) -> None:
    """The table that ends a sweep."""
    lines = []
    for folder, setting in zip(folders, swept([f.config() for f in folders]), strict=True):
        status, why = folder.status()
        main, last = folder.measures().main, folder.last_metrics()
        line = {**setting, "status": f"{status}: {why}" if why else status}
        if last:
            line |= {
                "loss": f"{last['consensus_train_loss']:.4f}",
                f"test {main.title}": main.shown(last[main.column]),
                "rounds": f"{last['round']:,.0f}",
                "sent": amount(last["payload_bytes"]),
                "time": duration(last["train_seconds"]),
            }
        lines.append({**line, "run": folder.path.name})
    show_lines(lines)


def show_best(searched: Sequence[tuple[float, str]], maximises: bool) -> None:
    """The line that ends a sweep whose sweeper looks for the best."""
    value, keys = (max if maximises else min)(searched)
    say(f"the best of {len(searched)}: {keys} (objective {value:.4f})")


def show_lines(lines: Lines) -> None:
    """A table of the lines; names of runs and reasons only where a terminal has room for them."""
    columns = [*dict.fromkeys(column for line in lines for column in line if column != "run")]
    brief = [{k: v.partition(":")[0] if k == "status" else v for k, v in x.items()} for x in lines]
    tables = [table_of(lines, [*columns, "run"])]
    if columns:
        tables += [table_of(lines, columns), table_of(brief, columns)]
    show(next(filter(fits, tables), tables[-1]))


def table_of(lines: Lines, columns: Sequence[str]) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*cells([line.get(column, "") for column in columns]))
    return table
