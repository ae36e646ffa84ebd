"""Names in scripts that matplotlib's own font does not have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from test_report import fixture_run

from prsgd.report import report
from prsgd.report.fonts import fonts_for


def a_font(path: Path, name: str, character: str) -> None:
    """Write a font with one character, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = {".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([*glyphs])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only font beside matplotlib's own, which has one character; its name."""
    a_font(tmp_path / "sun.ttf", "Sun", "日")
    own = [entry for entry in fontManager.ttflist if entry.name.startswith("DejaVu")]
    monkeypatch.setattr(fontManager, "ttflist", own)
    fontManager.addfont(tmp_path / "sun.ttf")
    return "Sun"


def test_a_font_is_sought_for_what_the_own_one_lacks(installed: str) -> None:
    assert fonts_for("PR-SGD, γ = 0.1√N, x̄, Δ, Ω ≤ é\n") == ([], "")
    assert fonts_for("a 日") == ([installed], "")
    assert fonts_for("日 本") == ([installed], "本")


def test_a_figure_has_the_glyphs_of_an_installed_font(
    tmp_path: Path, installed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixture_run(tmp_path / "runs", data="set 日")
    report(tmp_path / "runs", tmp_path / "figures")
    assert "no installed font" not in capsys.readouterr().out
    svg = next(tmp_path.rglob("epochs.svg")).read_text()
    assert "on set 日, N" in svg
    assert installed in svg


@pytest.mark.parametrize("data", ["日本語のデータ", "中国 $5 x_{", "मराठी 한국어"])
def test_no_page_of_warnings(tmp_path: Path, data: str) -> None:
    fixture_run(tmp_path / "runs", data=data)
    command = [sys.executable, "-m", "prsgd", "figures", "runs", "--out", "figures"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    boxes = fonts_for(data)[1]
    told = [line for line in done.stdout.splitlines() if line.startswith("no installed font has")]
    assert told == [f"no installed font has {boxes}: in the png files boxes stand there"] * bool(
        boxes
    )
    assert data in next(tmp_path.rglob("epochs.svg")).read_text()
