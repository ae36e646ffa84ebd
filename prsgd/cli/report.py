"""`prsgd report`: a page of HTML about the runs under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from prsgd.cli.paragraphs import Paragraphs

WHAT = """\
The page has, for each group of runs that prsgd figures draws together, the question that they
answer, curves that can be read off and switched off, and the command that makes each run again. It
has a table of all runs, and what differs between any two. It is one file and loads nothing.

The question is a sentence in an experiment's block `figures`, kept as figures.yaml beside the runs:

  question: How much does accuracy fall as workers average less often?
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd report",
        description="Write a page of HTML about all runs under a folder. It needs two packages: "
        "pip install 'prsgd[report]'.",
        epilog=WHAT,
        formatter_class=Paragraphs,
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("runs"), metavar="RESULTS")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: RESULTS/index.html)"
    )
    options = parser.parse_args(arguments)
    from prsgd.report.page import write_page

    return write_page(options.results, options.out or options.results / "index.html")
