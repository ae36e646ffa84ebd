"""Help whose paragraphs fit the terminal."""

from __future__ import annotations

import argparse
import textwrap


class Paragraphs(argparse.HelpFormatter):
    """Fills each paragraph of a description; what is indented stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            own if own.startswith(" ") else textwrap.fill(own, width)
            for own in text.rstrip().split("\n\n")
        )
