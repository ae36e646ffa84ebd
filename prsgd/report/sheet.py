"""The sheet that a figure is drawn on: its width, its caption and legend, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from prsgd.console import printable
from prsgd.report.scales import write_numbers_alike
from prsgd.report.style import verbatim

WIDTHS = {"column": 3.4, "page": 7.0}  # inches, as journals print them
DPI = 200
MOST_LINES = 12  # of a caption
MARK = 0.6  # inches that a legend needs beside its words


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
    figure.set_figheight(above + max(plots, below) + below)
    save(figure, sheet)
    data.to_csv(sheet.path.with_suffix(".csv"), index=False, float_format="%.6g")


def save(figure: Figure, sheet: Sheet) -> None:
    """Lay a figure out and write all its formats, the same bytes every time.

    A PNG of 256 colours is a third as large as one of all.
    """
    write_numbers_alike(figure)
    layout = ConstrainedLayoutEngine()
    figure.set_layout_engine(layout)
    layout.execute(figure)
    figure.set_layout_engine("none")  # what is laid out need not be so again for each format
    for kind in {*sheet.formats} - {"png"}:
        dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
        figure.savefig(sheet.path.with_suffix(f".{kind}"), metadata=dateless)
    if "png" in sheet.formats:
        _save_pixels(figure, sheet.path.with_suffix(".png"))
    plt.close(figure)


def _save_pixels(figure: Figure, path: Path) -> None:
    pixels = BytesIO()
    figure.savefig(pixels, format="rgba", dpi=DPI)
    size = [int(side) for side in figure.get_size_inches() * DPI]
    picture = Image.frombytes("RGBA", (size[0], size[1]), pixels.getvalue()).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, dpi=(DPI, DPI))


def _caption(figure: Figure, text: str) -> float:
    """Write a text above the panels; returns the inches that it takes."""
    lines = in_lines(printable(text), figure.get_figwidth() - 0.2)[:MOST_LINES]
    shown = "\n".join(map(verbatim, lines))
    heading = figure.suptitle(shown, fontsize=mpl.rcParams["font.size"])
    return float(heading.get_window_extent().height) / figure.dpi + 0.05


def _legend(figure: Figure, entries: Mapping[str, Any]) -> float:
    """Put a legend below the panels, in the fewest rows that fit; returns its inches."""
    room = figure.get_figwidth()
    labels = ["\n".join(map(verbatim, in_lines(label, room - MARK))) for label in entries]
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
    measure, text = _measure(), text.replace(" = ", "\u00a0=\u00a0")
    lines = _broken(text, inches, measure)
    narrower = lines
    while len(narrower) == len(lines):
        lines, inches = narrower, 0.97 * inches
        narrower = _broken(text, inches, measure) if len(lines) > 1 else []
    return [line.replace("\u00a0", " ") for line in lines]


def _broken(text: str, inches: float, measure: Callable[[str], float]) -> list[str]:
    """A text in lines; a word that is wider than a line is cut."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and measure(f"{lines[-1]} {word}") <= inches:
            lines[-1] += f" {word}"
            continue
        while measure(word) > inches and len(word) > 1:
            cut = next(
                n for n in range(len(word) - 1, 0, -1) if n == 1 or measure(word[:n]) <= inches
            )
            lines.append(word[:cut])
            word = word[cut:]
        lines.append(word)
    return lines


def _measure() -> Callable[[str], float]:
    """The width in inches of a text in the letters of legends and captions."""
    figure = plt.figure()
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    plt.close(figure)
    font, dpi = FontProperties(size=mpl.rcParams["font.size"]), figure.dpi
    return lambda text: renderer.get_text_width_height_descent(text, font, False)[0] / dpi
