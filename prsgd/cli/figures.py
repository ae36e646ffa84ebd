"""`prsgd figures`: draw the runs under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

DECLARED = """\
What a sweep varied is what its figures vary: colour by the first key, line style by the next.
An experiment's block `figures`, kept as figures.yaml beside the runs, may say more:

  curves: {colour: algorithm.interval, style: momentum, panels: data.partition}
  speedup: {x: workers, y: steps_to_target, lines: {LABEL: {workers: [1, 2], lr: 0.1}}}

  best_of: lr

`curves` is for all figures of curves; any other name is a figure more. x is a column of metrics.csv
or, for where runs ended, a key; y is a column or steps_to_target.

With best_of, which is --best-of, each curve is drawn at its best value of a key, so that methods
compare when each is tuned alike: a curve is then all runs that differ in this key and in the seed
only. The best is the value with the lowest training loss of the average model at the end, as a mean
over the seeds that all values have. best_by, which is --best-by, names another column of
metrics.csv. To choose by test data makes their results look better than they are. A value at which
a run diverged was tried, and is never the best. summary.md and the figure `tried` show what was
tried, whether the best lies at its edge, and whether all had as many values.
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
    parser.add_argument(
        "--best-of", metavar="KEY[,KEY]", help="draw each curve at its best value of swept keys"
    )
    parser.add_argument(
        "--best-by",
        metavar="COLUMN",
        help="the column that decides at the end (default: consensus_train_loss)",
    )
    options = parser.parse_args(arguments)
    from prsgd.report import report
    from prsgd.report.declared import asked_best

    return report(options.results, options.out, asked_best(options.best_of, options.best_by))
