"""`prsgd algorithms`: the methods, and what each sends."""

from __future__ import annotations

import argparse

from rich import box
from rich.table import Table

from prsgd.cli.help import algorithms
from prsgd.config.choices import conf_dir, config_dirs
from prsgd.console import cells, console


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd algorithms",
        description="The methods that algorithm= chooses: what each does, when it helps, and what "
        "a worker sends, D being the size of the model.",
    )
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="where you have your own")
    parser.parse_args(arguments)
    table = Table("algorithm=", "what it does", "when it helps", "what a worker sends")
    table.box, table.pad_edge, table.show_lines = box.HORIZONTALS, False, True
    for row in algorithms([conf_dir(), *config_dirs(arguments)]):
        table.add_row(*cells(row))
    console.print(table)
    return 0
