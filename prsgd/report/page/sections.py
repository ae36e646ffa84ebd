"""The part of the page on one group: its question, its figures, how its runs are made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prsgd.report.curves import Group
from prsgd.report.declared import declared_question
from prsgd.report.page.charts import charts, notes
from prsgd.report.page.texts import element, items, safe
from prsgd.report.room import hint, shown_of
from prsgd.report.specs import USUAL, specs

SAMPLE = (  # of a series in the legend
    '<svg class="sample" viewBox="0 0 34 12" aria-hidden="true"><path d="M1,6H33" '
    'style="stroke:{colour}" stroke-dasharray="{dash}"/><path d="{shape}" '
    'transform="translate(17,6) scale(3.2)" style="fill:{colour}"/></svg>'
)


class Section:
    """A group of runs in the page; `place` is its number there."""

    def __init__(self, place: int, group: Group, results: Path) -> None:
        self.place = place
        self.group = group
        self.folder = folder_of(group.folder, results)
        shown, figures = shown_of(group), specs(group)
        self.charts = charts(shown, figures)
        self.notes = [*notes(shown, figures), *filter(None, [hint(group)])]
        self.caption = shown.caption
        self.question = declared_question(group)

    @property
    def name(self) -> str:
        """What the list of contents calls it."""
        if self.question:
            return f"{self.folder}, {self.group.model}: {self.question}"
        return f"{self.folder}: {self.group.title}"

    def colours(self, ground: str) -> str:
        """The CSS variables of the series, on `light` or on `dark` ground."""
        return "".join(
            f"--{self._variable(look, place)}:{series[ground]};"
            for look, of_look in enumerate(self.charts["looks"])
            for place, series in enumerate(of_look)
        )

    def html(self, runs: Sequence[str]) -> str:
        """The section; `runs` are the pieces on how each of its runs is made again."""
        again = element("summary", f"Make these runs again ({len(runs)})")
        rows = len(self.charts["figures"][0]["rows"])
        about = f"{self.folder}: {self.caption}." if self.question else f"{self.folder}."
        parts = [
            element("h2", safe(self.question or self.caption)),
            element("p", safe(about), class_="caption"),
            *items("p", map(safe, self.notes)),
            self._controls(),
            element("div", "", class_="panels", style=f"--rows:{rows}"),
            element("details", again + "".join(runs)),
        ]
        name, place = f"group-{self.place}", str(self.place)
        return element("section", "".join(parts), id=name, class_="group", data_place=place)

    def _controls(self) -> str:
        columns = self.charts["columns"]
        options = "".join(
            element("option", safe(titled(figure, columns)), value=str(place))
            for place, figure in enumerate(self.charts["figures"])
        )
        select = element("label", f"Against {element('select', options)}")
        legends = (self._legend(look, own) for look, own in enumerate(self.charts["looks"]))
        return element("div", select, class_="controls") + "".join(legends)

    def _legend(self, look: int, series: Sequence[Mapping[str, str]]) -> str:
        boxes = []
        for place, own in enumerate(series):
            colour = f"var(--{self._variable(look, place)})"
            sample = SAMPLE.format(colour=colour, dash=own["dash"], shape=own["shape"])
            box = f'<input type="checkbox" checked value="{place}">'
            boxes.append(element("label", f"{box}{sample}<span>{safe(own['name'])}</span>"))
        buttons = element("button", "all", type="button", data_check="all")
        buttons += element("button", "none", type="button", data_check="none")
        legend = element("legend", f"Shown: {buttons}")
        return element("fieldset", legend + "".join(boxes), data_look=str(look))

    def _variable(self, look: int, series: int) -> str:
        return f"c-{self.place}-{look}-{series}"


def folder_of(folder: Path, results: Path) -> str:
    """A folder of runs as the page names it."""
    if folder.is_relative_to(results) and folder != results:
        return str(folder.relative_to(results))
    return folder.resolve().name


def titled(figure: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> str:
    """What the choice of figures calls one: its x axis, and its name where it was declared."""
    x: str = columns[figure["x"]]["title"]
    return x if figure["name"] in USUAL else f"{x} ({figure['name']})"
