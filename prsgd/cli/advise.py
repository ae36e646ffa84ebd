"""`prsgd advise`: gather what the advice needs, and print it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.cli.advise_costs import Situation, finished, planned
from prsgd.cli.advise_sweep import advise_from_sweep
from prsgd.cli.run import given_keys
from prsgd.config.compose import compose
from prsgd.errors import UserError

if TYPE_CHECKING:
    from prsgd.cost.advice import Advice
    from prsgd.cost.network import Prediction


SHARE = 0.05  # of communication in the time


def main(arguments: list[str]) -> int:
    options = parser().parse_intermixed_args(arguments)
    if options.share and options.share >= 1:
        raise UserError(f"--share={options.share:g}: must be below 1")
    is_folder = options.folder and options.folder.is_dir()
    if is_folder and not (options.folder / "config.yaml").exists():
        return advise_from_sweep(options)
    for name in ("loss", "group_bandwidth_mbit", "jitter"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: needs --from SWEEP, a folder of runs")
    if options.processes and not (options.folder and options.bandwidth_mbit):
        raise UserError("--processes: needs --from and --bandwidth-mbit; a plan has processes=P")
    if options.folder and options.calibrate:
        raise UserError("--from: the run folder has its costs; leave out --calibrate")
    keys = [*(f"--config-dir={folder}" for folder in options.config_dir), *options.overrides]
    if options.folder:
        situation = finished(options, *given_keys(keys))
    else:
        runs, _ = compose(keys)
        if len(runs) > 1:
            raise UserError("advice is for one run; leave out the sweep")
        situation = planned(replace(runs[0], start="auto"), options)
    return advise(situation, options.share or SHARE)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        "prsgd advise",
        description="Which interval? What the network asks for, and what the theory allows. "
        "Of a sweep: which of its curves reaches a loss first on your network, and how sure that "
        "is, from records alone.",
        epilog="KEY=VALUE are the keys of `prsgd train`: workers, model, batch_size, epochs, ... "
        "A plan needs --step-ms, --latency-ms and --bandwidth-mbit; --calibrate measures what is "
        "not given. A sweep needs --bandwidth-mbit.",
    )
    add = result.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="the run that you plan")
    add("--config-dir", "-cd", action="append", default=[], metavar="DIR", help="more choices")
    add("--calibrate", action="store_true", help="measure the step and the all-reduce here")
    add("--from", dest="folder", type=Path, metavar="DIR", help="a finished run, or a sweep")
    add("--loss", type=positive, metavar="LOSS", help="of a sweep: who reaches it first")
    add("--step-ms", type=positive, metavar="MS", help="a local step of a process's workers")
    add("--latency-ms", type=positive, metavar="MS", help="of a message between two processes")
    add("--bandwidth-mbit", type=positive, metavar="MBIT/S", help="between two processes")
    add("--group-bandwidth-mbit", type=positive, metavar="MBIT/S", help="within groups, of a sweep")
    add(
        "--processes",
        type=int,
        metavar="P",
        help="that host the workers, of a sweep or a finished run",
    )
    add(
        "--jitter",
        type=positive,
        metavar="SHARE",
        help="of its mean by which a step's time scatters, of a sweep",
    )
    add("--share", type=positive, help=f"of communication in the time ({SHARE})")
    return result


def positive(text: str) -> float:
    """A finite number above zero, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def advise(now: Situation, share: float) -> int:
    """Print the predictions for each interval and one sentence of advice."""
    from prsgd.cost.advice import intervals, recommend
    from prsgd.cost.network import predict
    from prsgd.launch.torchrun import torchrun_rank

    if torchrun_rank():
        return 0
    run, costs = now.run, now.costs
    steps = run.steps(run.samples())
    advice = recommend(costs, run.workers, steps, share)
    units = run.units_per_step(steps)
    show_advice(
        f"{run.model.title}, N = {run.workers} on {now.processes} processes, b = {run.batch_size}, "
        f"T = {steps:,}: a step {1000 * costs.step:.4g} ms, an averaging "
        f"{1000 * costs.round:.4g} ms{now.in_groups} ({now.source})",
        [predict(costs, interval, units) for interval in intervals(advice, steps)],
        advice,
        run.measures().unit,
    )
    return 0


def show_advice(
    situation: str, predictions: Sequence[Prediction], advice: Advice, unit: str
) -> None:
    """The table and the sentence; `unit` is what data are counted in."""
    from rich import box
    from rich.table import Table

    from prsgd.console import say, show

    say(situation)
    columns = ("I", "ms per step", f"{unit}/s", "against I = 1", "communication")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for p in predictions:
        table.add_row(
            str(p.interval),
            f"{1000 * p.seconds:.4g}",
            f"{p.units_per_second:,.0f}",
            f"{p.units_per_second / predictions[0].units_per_second:.2f} ×",
            f"{p.share:.1%}",
            style="bold" if p.interval == advice.interval else "",
        )
    show(table)
    say(advice.sentence)
