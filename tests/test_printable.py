"""Texts from outside reach a terminal, a figure and a spreadsheet as texts."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from conftest import part
from rich.table import Table
from test_report import fixture_run

from prsgd.console import cells, print_error, printable, say, show
from prsgd.report import report

EVIL = "\x1b[31m\x07\r\n\x9b2J \u202eabc\u2066\ud800"
SHOWN = r"\x1b[31m\x07\r\n\x9b2J \u202eabc\u2066\ud800"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("γ = 0.1, 日本, x̄, [red] :smile:") == "γ = 0.1, 日本, x̄, [red] :smile:"


def test_screens_show_texts_from_outside_as_texts(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("run")
    table.add_row(*cells([EVIL]))
    print_error(f"{EVIL} :smile:")
    say(f"{EVIL} [red] :smile:")
    show(table)
    seen = capsys.readouterr()
    assert seen.err == f"prsgd: {SHOWN} :smile:\n"
    assert seen.out.startswith(f"{SHOWN} [red] :smile:\n")
    assert seen.out.count(SHOWN) == 2


def of_plugin(folder: Path, target: str) -> None:
    """Let a run be one of somebody else's algorithm."""
    text = (folder / "config.yaml").read_text()
    name = json.dumps(target)
    (folder / "config.yaml").write_text(text.replace("  name: prsgd\n", f"  _target_: {name}\n"))


def test_a_report_has_texts_from_outside_as_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_plugin(fixture_run(tmp_path / "runs", data="a set"), f"{EVIL[:-1]}|")
    environment = next(tmp_path.rglob("environment.json"))
    environment.write_text(environment.read_text().replace('"a set"', '"a \\u001b[2J \\ud800 set"'))
    fixture_run(tmp_path / "runs", status="failed").rename(tmp_path / "runs/\x1b[2J")
    report(tmp_path / "runs", tmp_path / "figures")
    seen = capsys.readouterr().out
    assert r"runs/\x1b[2J (failed)" in seen
    assert r"on a \x1b[2J \ud800 set" in seen
    assert seen.isprintable() or set(filter(lambda c: not c.isprintable(), seen)) == {"\n"}
    assert rf"| {SHOWN[:-6]}\|" in seen
    for svg in tmp_path.rglob("*.svg"):
        ElementTree.parse(svg)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", "\r="])
def test_no_cell_of_a_summary_is_a_formula(tmp_path: Path, first: str) -> None:
    of_plugin(fixture_run(tmp_path / "runs"), f"{first}cmd|' /C calc'!A0")
    fixture_run(tmp_path / "runs", algorithm=part("minibatch"))
    report(tmp_path / "runs", tmp_path / "figures")
    [path] = tmp_path.rglob("summary.csv")
    frame = pd.read_csv(path)
    labels = [*frame["run"]]
    assert [label.startswith(("'", "mini")) for label in labels] == [True, True]
    assert all(pd.api.types.is_numeric_dtype(kind) for kind in frame.drop(columns="run").dtypes)
