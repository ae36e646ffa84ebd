"""`prsgd figures`: draw the runs under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

DECLARED = """\
What a sweep varied is what its figures vary: colour by the first key, line style by the next.
An experiment's block `figures`, kept as figures.yaml beside the runs, may say more:

  curves: {colour: algorithm.interval, style: momentum, panels: data.partition}
  speedup: {x: workers, y: steps_to_target, lines: {LABEL: {workers: [1, 2], lr: 0.1}}}

`curves` is for all figures of curves; any other name is a figure more. x is a column of metrics.csv
or, for where runs ended, a key; y is a column or steps_to_target.
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd figures",
        description="Draw all runs under a folder, and a table of them. Runs that lie side by "
        "side belong together, and their figures go into a folder figures/ beside them. Links are "
        "followed: a folder of links to runs compares them. Of many curves the best 24 are drawn.",
        epilog=DECLARED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("runs"), metavar="RESULTS")
    parser.add_argument("--out", type=Path, metavar="DIR", help="put all figures under DIR instead")
    options = parser.parse_args(arguments)
    from prsgd.report import report

    return report(options.results, options.out)
