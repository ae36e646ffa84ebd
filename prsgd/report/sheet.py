"""The sheet that a figure is drawn on: its width, its caption and legend, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from matplotlib.text import Text
from PIL import Image

from prsgd.console import printable
from prsgd.report.lines import in_lines
from prsgd.report.scales import write_numbers_alike
from prsgd.report.style import shortened

WIDTHS = {"column": 3.4, "page": 7.0}  # inches, as journals print them
DATA = "_data.csv"  # as a run's own table is called rounds.csv
DPI = 200
NEARLY_WHITE = 252  # of 255, what the colours are reduced to where all is white
MOST_LINES = 12  # of a caption
MARK = 0.6  # inches that a legend needs beside its words
PADDING = 0.3  # inches around the panels
EDGE = 0.05  # inches above the caption
PAD, APART = 0.6, 1.2  # of the letters' size: around panels, and between two side by side


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
    plots = figure.get_figheight()
    heading, above = _caption(figure, text)
    below = _legend(figure, entries) if entries else 0.0
    figure.set_figheight(above + max(plots, below + PADDING))
    lay_out(figure)
    _add_below(figure, below)
    heading.set_y(1 - EDGE / figure.get_figheight())
    write(figure, sheet)
    path = sheet.path.with_name(sheet.path.name + DATA)
    data.to_csv(path, index=False, float_format="%.6g")


def lay_out(figure: Figure) -> None:
    """Give panels and their labels the room of the figure, less that of the caption."""
    write_numbers_alike(figure)
    figure.tight_layout(pad=PAD, w_pad=APART)


def _add_below(figure: Figure, inches: float) -> None:
    """Make a figure higher below its panels, whose sizes stay."""
    high, panels = figure.get_figheight(), figure.subplotpars
    figure.set_figheight(high + inches)
    bottom, top = ((inches + edge * high) / (inches + high) for edge in (panels.bottom, panels.top))
    figure.subplots_adjust(bottom=bottom, top=top)


def write(figure: Figure, sheet: Sheet) -> None:
    """Write all formats of a figure that is laid out, the same bytes every time.

    Canvases write what is there; `Figure.savefig` would draw everything once more before.
    """
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
    """One of 256 colours is a third as large as one of all; the white stays white."""
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.putpalette([255 if level > NEARLY_WHITE else level for level in few.getpalette() or ()])
    few.save(path, dpi=(DPI, DPI))


WRITERS: dict[str, Callable[[Figure, Path], None]] = {
    "png": _write_png,
    "svg": _write_svg,
    "pdf": _write_pdf,
}


def _caption(figure: Figure, text: str) -> tuple[Text, float]:
    """Write a text above the panels; returns it, and the inches that it takes."""
    lines = in_lines(printable(text), figure.get_figwidth() - 0.2)[:MOST_LINES]
    heading = figure.suptitle("\n".join(lines), fontsize=mpl.rcParams["font.size"])
    return heading, float(heading.get_window_extent().height) / figure.dpi + EDGE


def _legend(figure: Figure, entries: Mapping[str, Any]) -> float:
    """Put a legend below the panels, in the fewest rows that fit; returns its inches."""
    room = figure.get_figwidth()
    labels = ["\n".join(in_lines(shortened(label), room - MARK)) for label in entries]
    for rows in range(1, len(labels) + 1):
        columns = -(-len(labels) // rows)
        legend = figure.legend([*entries.values()], labels, loc="lower center", ncols=columns)
        box = legend.get_window_extent()
        if box.width <= room * figure.dpi or columns == 1:
            break
        legend.remove()
    return float(box.height) / figure.dpi
