"""`prsgd figures`: draw the runs under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd figures",
        description="Draw all runs under a folder, and a table of them. Runs that lie side by "
        "side belong together, and their figures go into a folder figures/ beside them.",
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("runs"), metavar="RESULTS")
    parser.add_argument("--out", type=Path, metavar="DIR", help="put all figures under DIR instead")
    options = parser.parse_args(arguments)
    from prsgd.report import report

    return report(options.results, options.out)
