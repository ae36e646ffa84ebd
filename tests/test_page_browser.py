"""The page of `prsgd report` in a real browser, with the real libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, browser
from test_page import hostile, two_methods

from prsgd.cli.report import main
from prsgd.report.curves import groups
from prsgd.report.page.entries import entries
from prsgd.report.runs import load

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium"),
]
SERIES = "document.querySelectorAll('.chart:first-child svg g.mark-line path').length"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return two_methods(tmp_path / "results")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def opened(chromium: Browser, results: Path, **how: Any) -> Browser:
    """The page of the results, drawn and without a complaint."""
    assert main([str(results)]) == 0
    page = results / "index.html"
    chromium.events.clear()
    chromium.open(page, **how)
    chromium.until("document.querySelector('.chart svg')")
    chromium.until("document.querySelector('.dt-search')")
    chromium.until("document.querySelector('#differences td')")
    assert chromium.complaints() == []
    assert chromium.asked() == [page.absolute().as_uri()]
    return chromium


def test_a_page_has_charts_tables_and_commands(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    assert page.run("document.querySelectorAll('.chart svg').length") == 2
    assert page.run(SERIES) == 2
    assert page.run("document.querySelectorAll('.chart:first-child g.mark-area path').length") == 1
    strokes = page.run(
        "[...document.querySelectorAll('.chart:first-child g.mark-line path')]"
        ".map((path) => getComputedStyle(path).stroke)"
    )
    assert "rgb(0, 0, 0)" in strokes
    commands = page.run("[...document.querySelectorAll('.command code')].map((e) => e.textContent)")
    runs, left_out = load(results)
    found = entries(groups(runs), [path for path, _ in left_out])
    assert sorted(commands) == sorted(entry.command for entry in found)


def test_a_series_is_switched_off_by_keyboard(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    for _ in range(40):
        page.press("Tab")
        if page.run("document.activeElement.type") == "checkbox":
            break
    assert page.run("document.activeElement.type") == "checkbox"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.press(" ", " ")
    page.until(f"{SERIES} === 1")
    page.press(" ", " ")
    page.until(f"{SERIES} === 2")


def test_tab_reaches_everything(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    page.run("for (const fold of document.querySelectorAll('details')) fold.open = true; 0")
    reached = set()
    for _ in range(150):
        page.press("Tab")
        reached.add(
            page.run(
                "(({tagName: t, type, className: c, id}) => `${t} ${type} ${id || c}`)"
                "(document.activeElement)"
            )
        )
    words = " ".join(reached)
    for what in ("select-one first", "select-one second", "checkbox", "search", "SUMMARY", "PRE"):
        assert what in words
    assert "dtcc-button_order" in words
    assert "BUTTON button" in words


def test_values_are_read_off_and_x_is_chosen(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    page.run(
        "(({parentElement: p}) => { p.querySelector('select').value = 1;"
        "p.querySelector('select').dispatchEvent(new Event('change', {bubbles: true})) })"
        "(document.querySelector('.group .controls'))"
    )
    page.until("document.querySelector('.chart')?.ariaLabel.endsWith('communication rounds')")
    page.until(f"{SERIES} === 2")
    box = "document.querySelector('.chart').getBoundingClientRect()"
    x, y = page.run(f"[{box}.left + {box}.width / 2, {box}.top + {box}.height / 2]")
    page.move(x, y)
    page.move(x + 3, y + 3)
    page.until("document.querySelector('#vg-tooltip-element.visible')")
    told = page.run("document.querySelector('#vg-tooltip-element').textContent")
    assert re.search(r"curve ?(PR-SGD|mini-batch SGD).*communication rounds ?\d+.*loss", told)


def test_a_page_is_dark_where_the_reader_likes_that(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results, dark=True)
    colour = "getComputedStyle({}).{}"
    assert page.run(colour.format("document.body", "backgroundColor")) == "rgb(20, 23, 28)"
    line = "document.querySelector('g.mark-line path')"
    assert page.run(colour.format(line, "stroke")) == "rgb(242, 242, 242)"
    text = "document.querySelector('.chart g.role-axis-label text')"
    assert page.run(colour.format(text, "fill")) == "rgb(228, 231, 236)"
    assert page.run("document.documentElement.classList.contains('dark')")


def test_a_phone_scrolls_no_page_sideways(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results, width=390)
    assert page.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    assert page.run("document.querySelector('.chart svg').getBoundingClientRect().width") > 340
    assert page.run("document.querySelector('#runs').getBoundingClientRect().width") > 390


def test_the_table_is_sorted_and_filtered(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    column = (
        "[...document.querySelectorAll('#runs tbody tr')]"
        ".map((row) => Number(row.querySelector('td.number')?.textContent))"
    )
    page.run("document.querySelectorAll('#runs .dtcc-button_order')[2].click()")
    losses = page.run(column)
    assert losses == sorted(losses)
    assert losses != sorted(losses, reverse=True)
    heads = "[...document.querySelectorAll('#runs thead .dt-column-title')].map(e => e.textContent)"
    assert {"lr", "seed", "algorithm"} <= {*page.run(heads)}
    page.run(
        "(e => { e.value = 'minibatch'; e.dispatchEvent(new Event('input', {bubbles: true})) })"
        "(document.querySelector('.dt-search input'))"
    )
    page.until("document.querySelectorAll('#runs tbody tr').length === 1")
    assert "1 runs of 5" in page.run("document.querySelector('.dt-info').textContent")


def test_two_runs_are_compared(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    runs, left_out = load(results)
    found = entries(groups(runs), [path for path, _ in left_out])
    first, second = (
        next(k for k, e in enumerate(found) if e.path.name.startswith(start))
        for start in ("minibatch", "prsgd-I8-N2-s1")
    )
    page.run(
        f"for (const [id, value] of [['first', {first}], ['second', {second}]]) {{"
        "const e = document.getElementById(id); e.value = value;"
        "e.dispatchEvent(new Event('change')) } 0"
    )
    rows = page.run(
        "[...document.querySelectorAll('#differences tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    told = {key: (one, other) for key, one, other in rows}
    assert told["seed"] == ("0", "1")
    assert told["algorithm.name"] == ("minibatch", "prsgd")
    assert told["algorithm.interval"] == ("", "8")
    assert told["training loss"] == ("0.2231", "0.0821")
    assert {"workers", "lr", "data.name", "rounds"} & {*told} == set()


def test_a_link_to_a_run_opens_what_it_is_folded_into(chromium: Browser, results: Path) -> None:
    page = opened(chromium, results)
    page.run("document.querySelector('#runs a').click()")
    page.until("document.querySelector('details').open")


def test_nothing_hostile_runs(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, hostile(tmp_path / "results"))
    for place in range(page.run("document.querySelectorAll('.dtcc-button_dropdown').length")):
        page.run(f"document.querySelectorAll('.dtcc-button_dropdown')[{place}].click()")
    page.run("document.querySelector('input[type=checkbox]').click()")
    assert page.run("window.hit === undefined")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.complaints() == []
