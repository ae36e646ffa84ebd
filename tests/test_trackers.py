"""Trackers of other packages: what they are told, once, and that none stops a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from conftest import Command, Trainer, numbers, part, small_run
from rich.console import Console
from rich.text import Text

from prsgd.errors import UserError
from prsgd.run_folder import RunFolder
from prsgd.training import loop
from prsgd.training.trackers import refuse_missing
from prsgd.training.trackers.base import Outcome
from prsgd.training.trackers.external import STATE, Book, ExternalTracker
from prsgd.training.trackers.lines import Line

NAMES = ["tensorboard", "wandb", "mlflow"]


class Noted(Book):
    """Notes what it is told, in memory."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.written: list[tuple[int, dict[str, float]]] = []
        self.ended: list[tuple[str, list[str]]] = []

    def begin(self, job: Any, key: str) -> str:
        self.keys.append(key)
        return "mine"

    def write(self, numbers: dict[str, float], t: int) -> None:
        self.written.append((t, numbers))

    def end(self, outcome: Outcome, figures: list[Path]) -> None:
        self.ended.append((outcome.status, [path.name for path in figures]))

    def close(self, failed: bool) -> None:
        pass


class Broken(Noted):
    """Fails when it is told of step 20."""

    def write(self, numbers: dict[str, float], t: int) -> None:
        if t == 20:
            raise ConnectionError("nobody\nanswers")
        super().write(numbers, t)


def kept_in(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be told to that book."""
    monkeypatch.setattr(
        loop, "external", lambda name, folder: ExternalTracker(name, lambda: book, folder)
    )


def test_every_row_is_told_once_though_the_run_was_stopped(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = Noted(), Noted()
    run = small_run(tracker=["wandb"])
    kept_in(whole, monkeypatch)
    _, folder = train_here(run, "first")
    kept_in(parts, monkeypatch)
    questions = iter(range(1000))
    assert train_here(run, "second", lambda: next(questions) >= 22)[0] == "interrupted"
    assert train_here(run, "second")[0] == "done"
    assert parts.keys == ["", "mine"]
    rows = [own for own in whole.written if "drift" in own[1]]
    assert [t for t, _ in rows] == numbers(folder)["step"].tolist()
    for (_, told), (_, row) in zip(rows, numbers(folder).iterrows(), strict=True):
        assert {name: told[name] for name in row.index} == pytest.approx(dict(row), nan_ok=True)
    rounds = [own for own in whole.written if "round/drift" in own[1]]
    assert [t for t, _ in rounds] == numbers(folder, "rounds.csv")["step"].tolist()
    timeless = [
        [(t, {k: v for k, v in own.items() if "second" not in k}) for t, own in book.written]
        for book in (whole, parts)
    ]
    assert str(timeless[0]) == str(timeless[1])
    assert [status for status, _ in parts.ended] == ["interrupted", "done"]
    assert parts.ended[0][1] == []
    assert {"rounds.png", "epochs.png"} <= {*parts.ended[1][1]}


def test_a_tracker_that_fails_stops_nothing(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_in(book := Broken(), monkeypatch)
    status, folder = train_here(small_run(tracker=["mlflow"]))
    assert status == "done"
    assert numbers(folder)["step"].tolist()[-1] == 40
    assert book.ended == []
    said = capsys.readouterr().err
    line = "tracker=mlflow failed (nobody answers); training goes on without it"
    assert said.count("tracker=") == said.count(line) == 1


def absent() -> Book:
    raise ImportError("libmine.so: there is no such file")


def test_one_that_cannot_even_start_stops_nothing(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its package cannot be imported, or what was kept of it is damaged."""
    own = lambda name, folder: ExternalTracker(name, absent, folder)  # noqa: E731
    monkeypatch.setattr(loop, "external", own)
    assert train_here(small_run(tracker=["wandb"]), "first")[0] == "done"
    line = "tracker=wandb failed (libmine.so: there is no such file); training goes on without it"
    assert capsys.readouterr().err.count(line) == 1
    kept_in(book := Noted(), monkeypatch)
    questions = iter(range(1000))
    run = small_run(tracker=["wandb"])
    _, folder = train_here(run, "second", lambda: next(questions) >= 22)
    (folder.path / STATE).write_text("{")
    assert train_here(run, "second")[0] == "done"
    assert [status for status, _ in book.ended] == ["interrupted"]
    assert capsys.readouterr().err.count("tracker=wandb failed (") == 1


def stub(name: str, monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What stands in for a package, which the tracker of that name imports anew."""
    package, tracker = MagicMock(), f"prsgd.training.trackers.{name}"
    for module in (name, f"{name}.entities", tracker):
        monkeypatch.setitem(sys.modules, module, package)
    del sys.modules[tracker]
    return package


def ended_each_way(train_here: Trainer, name: str) -> None:
    """One run that fails by an error, goes on, is interrupted, goes on and is done."""

    def failing() -> bool:
        if next(questions) == 12:
            raise RuntimeError("broken")
        return False

    run, questions = small_run(tracker=[name]), iter(range(1000))
    with pytest.raises(RuntimeError, match="broken"):
        train_here(run, "own", failing)
    questions = iter(range(1000))
    assert train_here(run, "own", lambda: next(questions) >= 12)[0] == "interrupted"
    assert train_here(run, "own")[0] == "done"


def test_mlflow_is_told_of_a_failure(train_here: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stub("mlflow", monkeypatch).MlflowClient.return_value
    client.create_run.return_value.info.run_id = "own"
    ended_each_way(train_here, "mlflow")
    told = [arguments for arguments, _ in client.set_terminated.call_args_list]
    assert told == [("own", "FAILED"), ("own", "KILLED"), ("own", "FINISHED")]
    tags = [text.split()[0] for (_, _, text), _ in client.set_tag.call_args_list]
    assert tags == ["failed", "interrupted", "done"]


def test_wandb_is_told_of_a_failure(train_here: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stub("wandb", monkeypatch).init.return_value
    ended_each_way(train_here, "wandb")
    assert [keys for _, keys in run.finish.call_args_list] == [
        {"exit_code": 1},
        {"exit_code": 1},
        {"exit_code": 0},
    ]
    statuses = [arguments for arguments, _ in run.summary.__setitem__.call_args_list]
    assert [status for _, status in statuses] == ["failed", "interrupted", "done"]


def test_a_tracker_is_no_part_of_the_curve(train_here: Trainer, prsgd: Command) -> None:
    names = set()
    for tracker in ([], ["wandb"]):
        run = small_run(tracker=tracker)
        from prsgd.config.naming import run_name

        names.add(run_name(run, "fp32", "data"))
    assert len(names) == 1


def test_what_is_no_tracker_is_refused(prsgd: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        small_run(tracker=["comet"])
    allowed = "must be names among tensorboard, wandb and mlflow, as in [wandb]"
    assert str(caught.value) == f"tracker=['comet']: {allowed}"
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("prsgd.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        refuse_missing(["wandb"])
    assert str(caught.value) == (
        "tracker=wandb: needs the package wandb: pip install 'prsgd[wandb]'"
    )


def test_who_is_interrupted_is_told_how_to_go_on(
    train_here: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = iter(range(1000))
    status, folder = train_here(small_run(), "own", lambda: next(questions) >= 5)
    line = f"to go on: the same command again, or prsgd run {folder.path}"
    assert status == "interrupted"
    assert line in capsys.readouterr().out.splitlines()


def test_a_run_that_learns_nothing_says_so(
    train_here: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, after the first epoch; a guess among ten classes has the loss ln 10."""
    _, folder = train_here(small_run(lr=1e-9), "idle")
    rows = numbers(folder)
    first = rows[rows["epoch"] >= 1].iloc[0]
    hints = [line for line in capsys.readouterr().out.splitlines() if "no better than" in line]
    assert first["consensus_train_loss"] > np.log(10)
    assert hints == [
        f"after epoch {first['epoch']:.3g} the training loss, "
        f"{first['consensus_train_loss']:.3f}, is no better than a guess's, 2.303: try other rates "
        "than lr=1e-09, as by -m lr=1e-11,1e-10"
    ]
    train_here(small_run(lr=0.2, algorithm=part("minibatch")), "busy")
    assert "no better than" not in capsys.readouterr().out


@pytest.mark.parametrize(("width", "lines"), [(80, 2), (140, 1)])
def test_progress_fits_the_terminal(
    width: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar, the time left and what is known of the run, whole, with a title of a sweep."""
    terminal = Console(width=width, force_terminal=True, file=StringIO())
    monkeypatch.setattr("prsgd.training.trackers.lines.console", terminal)
    title = "[12/100] scaffold-I8-N4-s0-451f71a8"
    bar = Line(title)
    state = "epoch 10.7/40  round 1,310  loss 0.090  bits per byte 2.5  24,660 tok/s"
    bar.update(total=100, completed=20, state=state)
    bar.stop()
    with terminal.capture() as captured:
        terminal.print(bar.bars.get_renderable())
    shown = [line.rstrip() for line in Text.from_ansi(captured.get()).plain.splitlines()]
    assert len(shown) == lines
    assert max(map(len, shown)) <= width
    assert shown[0].startswith(f"{title} \u2501")
    assert " left " in shown[0]
    assert state in " ".join(shown)


# the real packages -------------------------------------------------------------------------------


def tracked(train_here: Trainer, name: str) -> tuple[RunFolder, pd.DataFrame, pd.DataFrame]:
    """A run that was stopped once, with its rows and rounds."""
    run = small_run(tracker=[name])
    questions = iter(range(1000))
    assert train_here(run, "own", lambda: next(questions) >= 27)[0] == "interrupted"
    status, folder = train_here(run, "own")
    assert status == "done"
    assert json.loads((folder.path / STATE).read_text())[name]["rows"] == 40
    return folder, numbers(folder), numbers(folder, "rounds.csv")


@pytest.mark.tools
@pytest.mark.filterwarnings("default")
def test_tensorboard(train_here: Trainer) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, metrics, rounds = tracked(train_here, "tensorboard")
    read = EventAccumulator(str(folder.path / "tensorboard"))
    read.Reload()
    scalars = {
        tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]
    }
    for column in ("consensus_train_loss", "drift", "payload_bytes"):
        wanted = list(zip(metrics["step"], metrics[column], strict=True))
        np.testing.assert_allclose(scalars[column], wanted, rtol=1e-6)
    wanted = list(zip(rounds["step"], rounds["drift"], strict=True))
    np.testing.assert_allclose(scalars["round/drift"], wanted, rtol=1e-6)
    assert {"figures/rounds", "figures/epochs"} <= {*read.Tags()["images"]}
    assert {"configuration/text_summary", "status/text_summary"} <= {*read.Tags()["tensors"]}


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log with a header of 7 bytes, as W&B's offline file is one."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := -place % 32768) and left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


@pytest.mark.tools
@pytest.mark.filterwarnings("default")
def test_wandb_offline(train_here: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, metrics, rounds = tracked(train_here, "wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    ids = set()
    for path in sorted(folder.path.glob("wandb/offline-run-*/*.wandb")):
        for data in log_records(path.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            items = {(i.key or "/".join(i.nested_key)): i.value_json for i in record.history.item}
            for key, value in items.items():
                if key in ("consensus_train_loss", "round/drift"):
                    found.setdefault(key, []).append((int(items["_step"]), float(value)))
    assert len(ids) == 1
    wanted = list(zip(metrics["step"], metrics["consensus_train_loss"], strict=True))
    np.testing.assert_allclose(found["consensus_train_loss"], wanted, rtol=1e-6)
    wanted = list(zip(rounds["step"], rounds["drift"], strict=True))
    np.testing.assert_allclose(found["round/drift"], wanted, rtol=1e-6)


@pytest.mark.tools
@pytest.mark.filterwarnings("default")
def test_mlflow(train_here: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    folder, metrics, rounds = tracked(train_here, "mlflow")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("prsgd")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", folder.path.name)
    assert run.data.params["algorithm.interval"] == "8"
    key = run.info.run_id
    for column, table_ in (("consensus_train_loss", metrics), ("round/drift", rounds)):
        history = client.get_metric_history(key, column)
        told = sorted((m.step, m.value) for m in history)
        name = column.removeprefix("round/")
        wanted = list(zip(table_["step"], table_[name], strict=True))
        np.testing.assert_allclose(told, wanted, rtol=1e-6)
    assert {a.path for a in client.list_artifacts(key, "figures")} >= {"figures/rounds.png"}
