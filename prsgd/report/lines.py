"""Texts in lines, as matplotlib sets them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

MOST_LETTERS = 2000


def in_lines(text: str, inches: float) -> list[str]:
    """A text in the fewest lines that fit, none much shorter than the others.

    No line ends beside the sign in "N = 8".
    """
    width = _widths(tuple(mpl.rcParams["font.family"]))
    text = text[:MOST_LETTERS].replace(" = ", "\u00a0=\u00a0")
    lines = narrower = _broken(text, inches, width)
    least = sum(map(width, text)) / len(lines)  # lines of one length would be no shorter
    while 1 < len(lines) == len(narrower) and inches > least:
        lines, inches = narrower, 0.97 * inches
        narrower = _broken(text, inches, width)
    return [line.replace("\u00a0", " ") for line in lines]


def _broken(text: str, inches: float, width: Callable[[str], float]) -> list[str]:
    """A text in lines; a word that is wider than a line is cut."""
    lines: list[str] = []
    room = 0.0  # in the last line
    for word in text.split(" "):
        needed = sum(map(width, word))
        if lines and width(" ") + needed <= room:
            lines[-1] += f" {word}"
            room -= width(" ") + needed
            continue
        lines.append("")
        room = inches
        for letter in word:
            if width(letter) > room and lines[-1]:
                lines.append("")
                room = inches
            lines[-1] += letter
            room -= width(letter)
    return lines


@cache
def _widths(fonts: tuple[str, ...]) -> Callable[[str], float]:
    """The width in inches of each letter in legends and captions."""
    figure = Figure()
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    font = FontProperties(family=[*fonts], size=mpl.rcParams["font.size"])

    def of(text: str) -> float:
        return float(renderer.get_text_width_height_descent(text, font, False)[0]) / figure.dpi

    @cache
    def width(letter: str) -> float:
        return of(f"x{letter}x") - of("xx")  # the space around it included

    return width
