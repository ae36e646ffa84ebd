"""Many runs: a figure shows as many curves as it has room for, and says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import spent
from test_report import declare, fixture_run

from prsgd.report import report
from prsgd.report.curves import groups
from prsgd.report.room import MOST, shown_of
from prsgd.report.runs import load

NOTE = "curves that ended with the lowest training loss"


def synthetic_runs(folder: Path, count: int, epochs: int = 20) -> None:
    """Runs of the same data and model, each with a rate of its own; the last ends the lowest."""
    pattern = fixture_run(folder, lr=0.001)
    files = {path.name: path.read_bytes() for path in pattern.iterdir()}
    config = yaml.safe_load(files["config.yaml"])
    head = pd.read_csv(pattern / "metrics.csv")
    start, step = head.iloc[0], head.iloc[1] - head.iloc[0]
    rows = pd.DataFrame([start + epoch * step for epoch in range(epochs + 1)])
    rows[["train_loss", "g2", "lr"]] = [0.5, 1.0, 0.05]
    rows["images_per_second"] = 160.0
    for place in range(1, count):
        run = folder / f"prsgd-{place}"
        run.mkdir()
        for name, content in files.items():
            (run / name).write_bytes(content)
        record = {**config, "lr": round(0.001 * (place + 1), 3)}
        (run / "config.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
        loss = np.exp(-0.3 * (1 + place / count) * np.arange(epochs + 1))
        rows["consensus_train_loss"] = rows["test_loss"] = loss
        rows["test_accuracy"] = 1 - loss / 2
        rows.to_csv(run / "metrics.csv", index=False)


def test_a_figure_shows_the_best_of_many_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_runs(tmp_path, MOST + 6)
    report(tmp_path)
    said = capsys.readouterr().out
    assert "not drawn: the 6 curves that ended with the highest training loss" in said
    assert said.count("| PR-SGD, I = 8, γ = ") == MOST + 6
    folder = tmp_path / "figures/toys-mlp-8"
    for name in ("epochs", "ends", "drift"):
        svg = (folder / f"{name}.svg").read_text()
        assert f"the {MOST} of {MOST + 6}" in svg
        drawn = pd.read_csv(folder / f"{name}_data.csv")["curve"]
        assert [*drawn.unique()] == [f"PR-SGD, I = 8, γ = {rate}" for rate in rates(name)]
    assert len(pd.read_csv(folder / "summary.csv")) == MOST + 6


def rates(name: str) -> list[float]:
    """Those of the curves that there is room for; `ends` has the best, which is the last, first."""
    found = [round(0.001 * place, 3) for place in range(7, MOST + 7)]
    return found[::-1] if name == "ends" else found


def test_as_many_curves_as_there_is_room_for_are_all_shown(tmp_path: Path) -> None:
    synthetic_runs(tmp_path, MOST)
    [group] = groups(load(tmp_path)[0])
    assert shown_of(group) is group
    synthetic_runs(tmp_path / "more", MOST + 1)
    [group] = groups(load(tmp_path / "more")[0])
    shown = shown_of(group)
    assert shown.caption.endswith(f"the {MOST} of {MOST + 1} {NOTE}")
    assert [curve.config["lr"] for curve in shown.curves] == [
        curve.config["lr"] for curve in group.curves[1:]
    ]


def test_points_and_panels_have_bounds_too(tmp_path: Path) -> None:
    synthetic_runs(tmp_path, MOST + 6)
    declare(
        tmp_path,
        by_panel={"x": "workers", "panels": "lr", "y": "train_loss"},
        by_line={"x": "workers", "y": "train_loss"},
    )
    report(tmp_path)
    folder = tmp_path / "figures/toys-mlp-8"
    assert f"the first {MOST} of {MOST + 6} rows" in plain(folder / "by_panel.svg")
    assert f"the {MOST} of {MOST + 6} lines" in plain(folder / "by_line.svg")


def plain(svg: Path) -> str:
    """The words of a picture, those that a line's end parts together again."""
    return " ".join(re.findall(r">([^<>\n]+)<", svg.read_text()))


@pytest.mark.slow
def test_four_hundred_runs_take_seconds(tmp_path: Path) -> None:
    synthetic_runs(tmp_path, 400)
    code = (
        "from pathlib import Path; from prsgd.cli.main import dispatch\n"
        f"assert dispatch(['figures', {str(tmp_path)!r}]) == 0\n"
        "print(Path('/proc/self/status').read_text())"
    )
    before = spent()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert spent() - before < 20
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak) < 400_000
