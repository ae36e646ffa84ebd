"""The whole page: its parts in page.html, and the data that page.js reads."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from prsgd.report.asked import tuned
from prsgd.report.attempts import attempts
from prsgd.report.curves import Group, groups
from prsgd.report.page import tables
from prsgd.report.page.entries import Entry, apart, entries
from prsgd.report.page.libraries import Libraries
from prsgd.report.page.sections import Section, folder_of
from prsgd.report.page.texts import element, embedded, items, safe
from prsgd.report.runs import RunRecord
from prsgd.report.scales import LOG_TICKS

LeftOut = Sequence[tuple[Path, str]]  # runs, each with the reason


def document(
    results: Path, runs: Sequence[RunRecord], left_out: LeftOut, libraries: Libraries
) -> str:
    """The page on the runs under `results`, as HTML."""
    found = groups(runs)
    not_drawn = [path for path, _ in left_out]
    of_all = entries(found, not_drawn)
    drawn = tuned(found, attempts(not_drawn))
    sections = [Section(place, group, results) for place, group in enumerate(drawn)]
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        title=safe(f"Runs in {results.resolve().name}"),
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        style=libraries.style + _file("page.css"),
        light="".join(section.colours("light") for section in sections),
        dark="".join(section.colours("dark") for section in sections),
        counts=_counts(len(runs), len(sections), len(left_out)),
        contents=_contents(sections) if len(sections) > 1 else "",
        **_parts(results, found, sections, of_all, left_out),
        data=embedded(_data(sections, of_all, libraries)),
    )


def _parts(
    results: Path,
    found: Sequence[Group],
    sections: Sequence[Section],
    of_all: Sequence[Entry],
    left_out: LeftOut,
) -> dict[str, str]:
    """The HTML of the groups and of the tables. A section has all runs of its group."""
    kinds = tables.kinds_of(of_all)
    folders = {entry.path: folder_of(entry.path.parent, results) for entry in of_all}
    groups_of = {r.path: place for place, g in enumerate(found) for c in g.curves for r in c.runs}
    blocks: dict[int | None, list[str]] = {}
    for place, entry in enumerate(of_all):
        blocks.setdefault(groups_of.get(entry.path), []).append(
            tables.run_block(entry, place, kinds)
        )
    why = [(folder_of(path, results), text.replace(f"{results}/", "")) for path, text in left_out]
    return {
        "groups": "".join(section.html(blocks[place]) for place, section in enumerate(sections)),
        "runs": tables.runs_table(of_all, folders),
        "options": tables.options(of_all, folders),
        "left_out": tables.left_out_list(why) + "".join(blocks.get(None, [])),
        "environments": tables.environments_table(kinds),
    }


def _data(
    sections: Sequence[Section], of_all: Sequence[Entry], libraries: Libraries
) -> dict[str, Any]:
    usual, differing = apart([entry.keys for entry in of_all])
    return {
        "scripts": {"charts": libraries.charts, "tables": libraries.tables},
        "panel": json.loads(_file("panel.json")),
        "ticks": LOG_TICKS,
        "groups": [section.charts for section in sections],
        "usual": usual,
        "runs": [
            {"own": own, "ends": {h: tables.shown_end(h, end) for h, end in entry.ends.items()}}
            for own, entry in zip(differing, of_all, strict=True)
        ],
    }


def _contents(sections: Sequence[Section]) -> str:
    links = (element("a", safe(s.name), href=f"#group-{s.place}") for s in sections)
    return element("nav", element("ul", "".join(items("li", links))), aria_label="Groups")


def _counts(runs: int, groups: int, left_out: int) -> str:
    """How many there are, in words."""
    each = ((runs, "finished run"), (groups, "group"))
    of_runs, of_groups = (f"{count} {what}{'s' * (count != 1)}" for count, what in each)
    return f"{of_runs} in {of_groups}, and {left_out} left out"


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
