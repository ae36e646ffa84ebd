"""`prsgd report`: one page of HTML in which a folder of runs can be looked at.

Figures are Vega-Lite's and the table is DataTables'; both are in the page, which loads nothing.
"""

from __future__ import annotations

from pathlib import Path

from prsgd.console import amount, say
from prsgd.errors import UserError
from prsgd.files import write_atomically
from prsgd.report.page import libraries
from prsgd.report.page.document import document
from prsgd.report.runs import load


def write_page(results: Path, out: Path) -> int:
    """Write the page of all runs under a folder."""
    libraries.refuse_missing()
    runs, left_out = load(results)
    if not runs:
        raise UserError(f"{results}: there is no finished run in it; start one with prsgd train")
    text = document(results, runs, left_out, libraries.bundle())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}); say with --out where the page may go"
        ) from error
    say(f"{out}: {amount(len(text.encode()))}")
    return 0
