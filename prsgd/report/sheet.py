"""The sheet that a figure is drawn on: its width, its caption and legend, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from prsgd.console import printable
from prsgd.report.scales import write_numbers_alike
from prsgd.report.style import shortened, verbatim

WIDTHS = {"column": 3.4, "page": 7.0}  # inches, as journals print them
DATA = "_data.csv"  # as a run's own table is called rounds.csv
DPI = 200
MOST_LINES, MOST_LETTERS = 12, 2000  # of a caption
MARK = 0.6  # inches that a legend needs beside its words
PADDING = 0.3  # inches around the panels


@dataclass(frozen=True)
class Sheet:
    """A figure's files without their endings, its width, and its formats; its data are CSV."""

    path: Path
    width: str = "page"
    formats: tuple[str, ...] = ("png", "svg")

    def __truediv__(self, name: str) -> Sheet:
        return replace(self, path=self.path / name)

    @property
    def inches(self) -> float:
        return WIDTHS[self.width]

    @property
    def is_narrow(self) -> bool:
        return self.width == "column"


def finish(
    figure: Figure, entries: Mapping[str, Any], text: str, data: pd.DataFrame, sheet: Sheet
) -> None:
    """Put the caption above and the legend below, and write the figure and its data.

    `entries` are the legend's handles by label. The plots keep their height, and are at least as
    high as the legend.
    """
    above, plots, below = _caption(figure, text), figure.get_figheight(), 0.0
    if entries:
        below = _legend(figure, entries)
    figure.set_figheight(above + max(plots, below + PADDING) + below)
    save(figure, sheet)
    path = sheet.path.with_name(sheet.path.name + DATA)
    data.to_csv(path, index=False, float_format="%.6g")


def save(figure: Figure, sheet: Sheet) -> None:
    """Lay a figure out and write all its formats, the same bytes every time.

    Canvases write what is laid out; `Figure.savefig` would draw everything once more before.
    """
    write_numbers_alike(figure)
    layout = ConstrainedLayoutEngine()
    figure.set_layout_engine(layout)
    layout.execute(figure)
    figure.set_layout_engine("none")  # what is laid out need not be so again for each format
    plt.close(figure)
    for kind in sheet.formats:
        WRITERS[kind](figure, sheet.path.with_suffix(f".{kind}"))


def _write_svg(figure: Figure, path: Path) -> None:
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(path, metadata={"Date": None})


def _write_pdf(figure: Figure, path: Path) -> None:
    canvas: Any = FigureCanvasPdf(figure)
    canvas.print_pdf(path, metadata={"CreationDate": None})


def _write_png(figure: Figure, path: Path) -> None:
    """One of 256 colours is a third as large as one of all."""
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, dpi=(DPI, DPI))


WRITERS: dict[str, Callable[[Figure, Path], None]] = {
    "png": _write_png,
    "svg": _write_svg,
    "pdf": _write_pdf,
}


def _caption(figure: Figure, text: str) -> float:
    """Write a text above the panels; returns the inches that it takes."""
    lines = in_lines(printable(text), figure.get_figwidth() - 0.2)[:MOST_LINES]
    shown = "\n".join(map(verbatim, lines))
    heading = figure.suptitle(shown, fontsize=mpl.rcParams["font.size"])
    return float(heading.get_window_extent().height) / figure.dpi + 0.05


def _legend(figure: Figure, entries: Mapping[str, Any]) -> float:
    """Put a legend below the panels, in the fewest rows that fit; returns its inches."""
    room = figure.get_figwidth()
    names = [in_lines(shortened(label), room - MARK) for label in entries]
    labels = ["\n".join(map(verbatim, lines)) for lines in names]
    for rows in range(1, len(labels) + 1):
        columns = -(-len(labels) // rows)
        legend = figure.legend(
            [*entries.values()], labels, loc="outside lower center", ncols=columns
        )
        box = legend.get_window_extent()
        if box.width <= room * figure.dpi or columns == 1:
            break
        legend.remove()
    return float(box.height) / figure.dpi


def in_lines(text: str, inches: float) -> list[str]:
    """A text in the fewest lines that fit, none much shorter than the others.

    No line ends beside the sign in "N = 8".
    """
    width, text = _widths(), text[:MOST_LETTERS].replace(" = ", "\u00a0=\u00a0")
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


def _widths() -> Callable[[str], float]:
    """The width in inches of each letter in legends and captions."""
    figure = plt.figure()
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    plt.close(figure)
    font, dpi = FontProperties(size=mpl.rcParams["font.size"]), figure.dpi

    def of(text: str) -> float:
        return float(renderer.get_text_width_height_descent(text, font, False)[0]) / dpi

    @cache
    def width(letter: str) -> float:
        return of(f"x{letter}x") - of("xx")  # the space around it included

    return width
