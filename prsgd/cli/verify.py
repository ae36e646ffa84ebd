"""`prsgd verify`: check the paper's claims, and show what was found."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from prsgd.console import console, say
from prsgd.errors import UserError
from prsgd.theory import verify
from prsgd.theory.checks import CheckContext, CheckResult


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd verify",
        description="Check the paper's claims on problems whose constants are known.",
        epilog=f"Claims: {', '.join(verify.CLAIMS)}. Exit code 1 if one fails.",
    )
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="shorter runs and fewer seeds")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the table and figures there")
    options = parser.parse_args(arguments)
    if options.claims and options.out:
        raise UserError("--out: keeps the table of all claims; name none")
    results = verify.check_all(options.claims, CheckContext(options.quick))
    show_results(results)
    if options.out:
        from prsgd.theory.figures import keep

        keep(results, options.out)
        say(f"{options.out}: claims.md, claims.csv and figures")
    return 0 if all(result.holds for result in results) else 1


def show_results(results: Sequence[CheckResult]) -> None:
    """A row per claim, with its verdict."""
    table = Table("claim", "what is claimed", "what was measured", "verdict", box=box.SIMPLE_HEAD)
    for r in results:
        verdict = Text("holds", "green") if r.holds else Text("fails", "bold red")
        table.add_row(Text(r.claim), Text(r.statement), Text(r.measured), verdict)
    console.print(table)
