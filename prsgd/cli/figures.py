"""`prsgd figures`: draw the runs under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from prsgd.cli.paragraphs import Paragraphs
from prsgd.errors import UserError

DECLARED = """\
What a sweep varied is what its figures vary: colour by the first key, line style by the next.
An experiment's block `figures`, kept as figures.yaml beside the runs, may say more:

  curves: {colour: algorithm.interval, style: momentum, panels: data.partition}
  speedup: {x: workers, y: steps_to_target, lines: {LABEL: {workers: [1, 2]}}}
  best_of: [lr, outer_lr]
  best_by: test_loss

`curves` is for all figures of curves; for best_of and best_by see below; any other name is a figure
more. x is a column of metrics.csv or, for where runs ended, a key; y is a column or
steps_to_target.

Methods compare when each is tuned alike. With --best-of, or best_of, each curve is drawn at its
best value of these keys: that of the lowest training loss of the average model at the end, as a
mean over the seeds that all its values have. --best-by, or best_by, names another column of
metrics.csv; what is chosen by test data looks better on them than it is. A value at which a run
diverged was tried, and is never the best. The figure `tried` and the summary show all values, and
the summary says which best value lies at the edge of what was tried, and whether all curves had as
many.

Time on another network follows from the records: the steps of each run take what they took here,
and its rounds what the links allow. Workers wait for the slowest one: with a jitter the time of
each step is drawn from the run's seed, by a gamma distribution. With --bandwidth-mbit, or network
in figures.yaml, the figure `network` has that time on its axis. With any of its options the figure
`bandwidth` shows the time to the loss that all curves reach on every network from 1 Mbit/s to
100 Gbit/s, and says which curve is the fastest where:

  network: {latency_ms: 1, bandwidth_mbit: 100, group_bandwidth_mbit: 10000,
            processes: 8, jitter: 0.2}
"""
FORMATS = ("png", "svg", "pdf")
NETWORK = {
    "latency_ms": ("MS", "of a message between two devices (default: 0)"),
    "bandwidth_mbit": ("MBIT/S", "that a device sends: draw time as it would be there"),
    "group_bandwidth_mbit": ("MBIT/S", "within groups of workers (default: the same)"),
    "processes": ("P", "devices that host the workers (default: one for each)"),
    "jitter": ("SHARE", "of its mean by which a step's time scatters (default: 0)"),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd figures",
        description="Draw all runs under a folder, and a table of them. Runs that lie side by "
        "side belong together, and their figures go into a folder figures/ beside them. Links are "
        "followed: a folder of links to runs compares them. Of many curves the best 30 "
        "are drawn, in a panel at most eight in colours.",
        epilog=DECLARED,
        formatter_class=Paragraphs,
    )
    parser.add_argument(
        "results",
        nargs="?",
        type=Path,
        default=Path("runs"),
        metavar="RESULTS",
        help="the folder of the runs (default: runs)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="put all figures under DIR instead")
    parser.add_argument(
        "--best-of", metavar="KEY[,KEY]", help="draw each curve at its best value of swept keys"
    )
    parser.add_argument(
        "--best-by",
        metavar="COLUMN",
        help="the column that decides at the end (default: consensus_train_loss)",
    )
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="draw only runs with this value of a key, or one of VALUE,VALUE; may be repeated",
    )
    parser.add_argument(
        "--x", default="", metavar="NAME", help="draw only one figure, against this column or key"
    )
    parser.add_argument(
        "--y",
        default="",
        metavar="COLUMN[,COLUMN]",
        help="draw these columns of metrics.csv, against --x",
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=("png", "svg"),
        metavar="KIND[,KIND]",
        help="of png, svg and pdf (default: png,svg); the data are in a csv file beside them",
    )
    parser.add_argument(
        "--width",
        choices=("column", "page"),
        default="page",
        help="of a journal, 3.4 or 7 inches; letters have 8 points in both (default: page)",
    )
    for name, (metavar, what) in NETWORK.items():
        kind = int if name == "processes" else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=what)
    options = parser.parse_args(arguments)
    from prsgd.report import Asked, report
    from prsgd.report.declared import asked_best, asked_network

    best = asked_best(options.best_of, options.best_by)
    network = asked_network({name: getattr(options, name) for name in NETWORK})
    axes = options.x, options.y
    if network and any(axes):
        raise UserError(
            "--x and --y draw what was recorded; leave them out to draw time on another network"
        )
    asked = Asked(best, network, options.where, axes, options.format, options.width)
    return report(options.results, options.out, asked)


def _formats(text: str) -> tuple[str, ...]:
    """The formats in a list; the error is argparse's to show."""
    kinds = tuple(dict.fromkeys(text.split(",")))
    if not {*kinds} <= {*FORMATS}:
        raise argparse.ArgumentTypeError(f"{text}: must be one or more of {', '.join(FORMATS)}")
    return kinds
