"""The tables of the page: all runs, what they were computed with, and those left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prsgd.config.swept import swept
from prsgd.report.page.entries import COSTS, ROUNDS, Entry
from prsgd.report.page.texts import element, items, safe


def runs_table(found: Sequence[Entry], folders: Mapping[Path, str]) -> str:
    """All runs: where they lie, how they ended, and the keys in which they differ."""
    keys = swept([entry.config for entry in found])
    of_keys = [*dict.fromkeys(key for own in keys for key in own)]
    of_ends = [*dict.fromkeys(head for entry in found for head in entry.ends)]
    of_ends.sort(key=lambda head: head in COSTS)  # after all that is measured
    heads = [
        element("th", "run"),
        element("th", "folder", data_hidden_if="alike"),
        element("th", "curve", class_="curve"),
        *(element("th", safe(head), class_="number", data_hidden_if="empty") for head in of_ends),
        element("th", "status"),
        *(element("th", safe(key), data_hidden_if="alike") for key in of_keys),
    ]
    rows = []
    for place, (entry, own) in enumerate(zip(found, keys, strict=True)):
        link = element("a", safe(entry.path.name), href=f"#run-{place}")
        cells = [
            element("th", link, scope="row"),
            *items("td", map(safe, (folders[entry.path], entry.curve))),
            *(_end(head, entry.ends.get(head)) for head in of_ends),
            element("td", safe(entry.status)),
            *items("td", (safe(own[key]) for key in of_keys)),
        ]
        rows.append("".join(cells))
    head, body = element("thead", element("tr", "".join(heads))), "".join(items("tr", rows))
    return element("table", head + element("tbody", body), id="runs", class_="compact stripe")


def _end(head: str, value: float | None) -> str:
    if value is None:
        return element("td", "")
    return element("td", shown_end(head, value), class_="number", data_order=repr(value))


def shown_end(head: str, value: float) -> str:
    """A number of a run's end: one of rounds, or one of four digits and more."""
    digits = 0 if head == ROUNDS else 4 if abs(value) < 10 else 2
    return f"{value:,.{digits}f}"


def options(found: Sequence[Entry], folders: Mapping[Path, str]) -> str:
    """The choice of a run."""
    by_folder: dict[str, list[str]] = {}
    for place, entry in enumerate(found):
        text = ", ".join(filter(None, [entry.path.name, entry.curve]))
        own = element("option", safe(text), value=str(place))
        by_folder.setdefault(folders[entry.path], []).append(own)
    return "".join(
        element("optgroup", "".join(own), label=folder) for folder, own in by_folder.items()
    )


def run_block(entry: Entry, place: int, kinds: Sequence[str]) -> str:
    """How a run is made again, and which of the `kinds` of environment it was computed in."""
    if entry.command:
        text = element("pre", element("code", safe(entry.command)), tabindex="0")
        again = element("div", text + element("button", "Copy", type="button"), class_="command")
    else:
        again = element("p", f"{safe(entry.why)}.")
    about = "Computed in no known environment."
    if entry.environment:
        kind = kinds.index(_kind(entry))
        link = element("a", f"environment {kind + 1}", href=f"#environment-{kind}")
        data = safe(entry.environment.get("data_fingerprint", "not known"))
        about = f"Computed in {link}; the data's fingerprint is {data}."
    head = element("h3", safe(entry.path.name))
    return element("article", head + again + element("p", about), id=f"run-{place}")


def kinds_of(found: Iterable[Entry]) -> list[str]:
    """The environments that differ, as JSON, in the order of the runs."""
    return [*dict.fromkeys(_kind(entry) for entry in found if entry.environment)]


def _kind(entry: Entry) -> str:
    own = {k: v for k, v in entry.environment.items() if k not in ("data", "data_fingerprint")}
    return json.dumps(own)


def environments_table(kinds: Sequence[str]) -> str:
    """A row for each environment."""
    found = [json.loads(kind) for kind in kinds]
    keys = [*dict.fromkeys(key for own in found for key in own)]
    heads = "".join(items("th", map(safe, ("environment", *keys))))
    rows = []
    for place, own in enumerate(found):
        cells = element("th", str(place + 1), scope="row")
        cells += "".join(items("td", (safe(own.get(key, "")) for key in keys)))
        rows.append(element("tr", cells, id=f"environment-{place}"))
    return element("table", element("thead", element("tr", heads)) + "".join(rows))


def left_out_list(left_out: Iterable[tuple[str, str]]) -> str:
    """The runs that figures leave out, and why."""
    lines = [f"{element('code', safe(path))}: {safe(why)}" for path, why in left_out]
    return element("ul", "".join(items("li", lines))) if lines else element("p", "None.")
