"""Folders of runs as people have them: links, copies, and records with anything in them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import part
from test_report import fixture_run

from prsgd.errors import UserError
from prsgd.report import report
from prsgd.report.asked import tuned
from prsgd.report.attempts import attempts
from prsgd.report.curves import groups
from prsgd.report.declared import Best
from prsgd.report.runs import load


def loaded(folder: Path) -> dict[str, str]:
    """The place of each run that was read, and that of its figures."""
    runs, _ = load(folder)
    return {str(run.path.relative_to(folder)): run.path.parent.name for run in runs}


def test_runs_behind_links_are_found(tmp_path: Path) -> None:
    elsewhere = fixture_run(tmp_path / "disk/runs")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/all").symlink_to(elsewhere.parent)
    (tmp_path / "report/one").symlink_to(elsewhere)
    name = elsewhere.name
    assert loaded(tmp_path / "report") == {f"all/{name}": "all", "one": "report"}
    report(tmp_path / "report", tmp_path / "figures")
    assert (tmp_path / "figures/all/toys-mlp-8/epochs.png").exists()
    assert (tmp_path / "figures/toys-mlp-8/epochs.png").exists()


def test_links_in_circles_end(tmp_path: Path) -> None:
    run = fixture_run(tmp_path / "report/a")
    for place, target in (("up", "../.."), ("again", "."), ("self", "self"), ("b", "../a")):
        (tmp_path / "report/a" / place).symlink_to(target)
    (tmp_path / "report/z").symlink_to(tmp_path / "report/a")
    (tmp_path / "report/0").symlink_to("/")
    assert loaded(tmp_path / "report") == {f"a/{run.name}": "a"}


def test_what_links_lead_to_twice_is_no_further_seed(tmp_path: Path) -> None:
    run = fixture_run(tmp_path)
    (tmp_path / "a link").symlink_to(run)
    runs, left_out = load(tmp_path)
    assert len(runs) == 1
    assert [why for _, why in left_out] == [f"it is the same run as {runs[0].path.name}"]


@pytest.mark.parametrize("name", ["metrics.csv", "rounds.csv", "status.json", "environment.json"])
def test_a_folder_that_looks_like_a_run_is_mentioned(tmp_path: Path, name: str) -> None:
    fixture_run(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / name).touch()
    [(path, why)] = load(tmp_path)[1]
    assert path == tmp_path / "half"
    assert why.endswith("half is not a run folder: it has no config.yaml")


def config(**keys: Any) -> Callable[[Path], None]:
    """Give a record's configuration other values."""

    def change(run: Path) -> None:
        record = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**record, **keys}))

    return change


def table(name: str, change: Callable[[pd.DataFrame], Any]) -> Callable[[Path], None]:
    def rewrite(run: Path) -> None:
        frame = pd.read_csv(run / name).astype(object)
        changed = change(frame)
        (frame if changed is None else changed).to_csv(run / name, index=False)

    return rewrite


def cell(column: str, value: Any, name: str = "metrics.csv") -> Callable[[Path], None]:
    return table(name, lambda frame: frame.__setitem__(column, [*frame[column][:-1], value]))


def content(name: str, text: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(text) and None


def without_column(run: Path) -> None:
    """A column that neither the table nor its declaration has."""
    frame = pd.read_csv(run / "metrics.csv").drop(columns="epoch")
    frame.to_csv(run / "metrics.csv", index=False)
    tables = yaml.safe_load((run / "config.yaml").read_text())["tables"]
    config(tables={**tables, "metrics.csv": [*frame]})(run)


def replaced(name: str, how: str) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        (run / name).unlink()
        if how == "a folder":
            (run / name).mkdir()
        elif how == "a pipe":
            os.mkfifo(run / name)
        else:
            (run / name).symlink_to("nowhere" if how == "a dead link" else name)

    return replace


ODD: dict[str, Callable[[Path], None]] = {
    "no column epoch": without_column,
    "text in a number": cell("epoch", "five"),
    "text in a round": cell("drift", "much", "rounds.csv"),
    "truth for numbers": table("metrics.csv", lambda frame: frame.assign(epoch=True)),
    "nan epochs": table("metrics.csv", lambda frame: frame.assign(epoch=float("nan"))),
    "a nan in the end": cell("consensus_train_loss", float("nan")),
    "infinite": cell("consensus_train_loss", float("inf")),
    "huge": cell("test_loss", 1e300),
    "more digits than a float": cell("payload_bytes", "9" * 400),
    "steps back": cell("step", 1),
    "rounds after the end": cell("step", 10**6, "rounds.csv"),
    "rounds at no step": cell("step", float("nan"), "rounds.csv"),
    "no time": table("metrics.csv", lambda frame: frame.assign(train_seconds=0)),
    "a mapping in a label": config(algorithm={"_target_": {"a": 1}}),
    "a list for a name": config(model={"name": [1]}),
    "a number for a group": config(data=3),
    "text for N": config(workers="two"),
    "truth for N": config(workers=True),
    "no N at all": config(workers=None),
    "N of 400 digits": config(workers=10**400),
    "nan for the rate": config(lr=float("nan")),
    "a list for the rate": config(lr=[0.1]),
    "a word for an interval": config(algorithm={"name": "prsgd", "interval": "often"}),
    "a depth that is none": config(model={"name": "mlp", "width": "wide"}),
    "a date": config(
        algorithm={"_target_": "mine.A", "since": __import__("datetime").date.today()}
    ),
    "bytes": config(algorithm={"_target_": "mine.A", "key": b"\xff"}),
    "columns that are a number": config(tables={"metrics.csv": 5, "rounds.csv": 6}),
    "a status that is a list": content("status.json", b"[1]"),
    "a deep status": content("status.json", b"[" * 100_000),
    "an environment that is a list": content("environment.json", b"[1]"),
    "a deep environment": content("environment.json", b"[" * 100_000),
    "a configuration that is a list": content("config.yaml", b"[1]"),
    **{
        f"{how} for {name}": change
        for name in ("config.yaml", "status.json", "environment.json", "metrics.csv", "rounds.csv")
        for how, change in {
            "nothing": content(name, b""),
            "bytes": content(name, bytes(range(256))),
            "Latin-1": content(name, "é: ü\n".encode("latin-1")),
            **{h: replaced(name, h) for h in ("a folder", "a pipe", "a dead link", "a circle")},
        }.items()
    },
}


@pytest.mark.parametrize("how", ODD)
def test_an_odd_run_is_named_and_left_out(tmp_path: Path, how: str) -> None:
    """Of the others there are figures."""
    for seed in (0, 1):
        fixture_run(tmp_path, seed=seed)
    victim = fixture_run(tmp_path, seed=9)
    ODD[how](victim)
    runs, left_out = load(tmp_path)
    assert [run.path.name for run in runs] == sorted(run.path.name for run in runs)
    assert len(runs) == 2
    [(path, why)] = left_out
    assert path == victim
    assert why
    assert "\n" not in why


def test_an_odd_run_stops_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = fixture_run(tmp_path)
    for how, spoil in ODD.items():
        victim = shutil.copytree(whole, tmp_path / how.replace(" ", "-"), symlinks=True)
        config(seed=len(how))(victim)
        spoil(victim)
    assert report(tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("left out: ")]) == len(ODD)
    assert (tmp_path / "figures/toys-mlp-8/epochs.png").exists()


def test_an_odd_run_stops_no_search_for_the_best(tmp_path: Path) -> None:
    """Damaged ones among runs that diverged are no trials, or are ones without an end."""
    for lr, rate in ((0.1, 0.4), (0.2, 0.5)):
        whole = fixture_run(tmp_path, rate, lr=lr)
    diverged = fixture_run(tmp_path / "pattern", lr=0.4, status="diverged")
    for how, spoil in ODD.items():
        victim = shutil.copytree(diverged, tmp_path / how.replace(" ", "-"), symlinks=True)
        spoil(victim)
    shutil.rmtree(diverged)
    runs, left_out = load(tmp_path)
    [group] = tuned(groups(runs), attempts(path for path, _ in left_out), Best(["lr"]))
    assert [curve.runs[0].path for curve in group.curves] == [whole]


STRANGE: dict[str, Callable[[Path], None]] = {
    "an interval of a plugin that is a word": config(
        algorithm={"_target_": "mine.A", "interval": "often"}
    ),
    "an interval of a plugin that is 0": config(algorithm={"_target_": "mine.A", "interval": 0}),
    "a mapping and a list of a plugin": config(
        algorithm={"_target_": "mine.A", "plan": {"a": [1, {"b": None}]}, "interval": None}
    ),
    "a long word": config(algorithm={"_target_": "m" * 5000}),
    "losses of 0": table("metrics.csv", lambda frame: frame.assign(consensus_train_loss=0)),
    "one row": table("metrics.csv", lambda frame: frame[:2]),
    "no virtual time": table("metrics.csv", lambda frame: frame.assign(virtual_time=0)),
    "drift that is nan": table("rounds.csv", lambda frame: frame.assign(drift=float("nan"))),
    "a large loss": cell("consensus_train_loss", 1e38),
    "a data label of many letters": lambda run: (
        (run / "environment.json").write_text(
            json.dumps({**json.loads((run / "environment.json").read_text()), "data": "d" * 5000})
        )
        and None
    ),
}


@pytest.mark.parametrize("how", STRANGE)
def test_what_is_strange_but_a_run_is_drawn(tmp_path: Path, how: str) -> None:
    fixture_run(tmp_path, algorithm=part("prsgd", interval=4), speeds=[1.0, 2.0])
    victim = fixture_run(tmp_path, speeds=[1.0, 2.0])
    if how == "one row":
        table("rounds.csv", lambda frame: frame[:1])(victim)
    STRANGE[how](victim)
    runs, left_out = load(tmp_path)
    assert len(runs) == 2
    assert not left_out
    assert report(tmp_path) == 0


@pytest.mark.parametrize("out", [None, "out"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, out: str | None) -> None:
    fixture_run(tmp_path / "runs")
    (tmp_path / "runs/figures").touch()
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"toys-mlp-8 cannot be written \(Not a directory\); say"):
        report(tmp_path / "runs", out and tmp_path / out)
