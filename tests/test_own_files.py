"""A run writes, reads and removes what is its own, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Trainer, part, small_run, table
from safetensors.torch import load_file, save_file
from test_launch import SMALL, folders
from test_resume import stopping_at

from prsgd.errors import UserError
from prsgd.report.runs import load
from prsgd.run_folder import RunFolder
from prsgd.training import checkpoint_files


def denied(kind: str) -> Callable[[Path], bytes]:
    """Reads files, but those of one kind, as a user does who may not."""
    read = checkpoint_files.read_bytes

    def reader(path: Path) -> bytes:
        if path.match(kind):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    return reader


@pytest.mark.parametrize("kind", ["*.safetensors", "manifest.json"])
def test_a_checkpoint_that_cannot_be_read_is_not_damaged(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The owner can still go on with the run, from where it was."""
    run = small_run(algorithm=part("prsgd", interval=2))
    _, whole = train_here(run, "whole")
    for _ in range(2):
        _, folder = train_here(run, "stopped", stopping_at(4))
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*/*")}
    tables = (folder.path / "metrics.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "read_bytes", denied(kind))
        with pytest.raises(UserError) as refusal:
            train_here(run, "stopped")
    newest = folder.checkpoints / "000000012"
    assert str(refusal.value) == (
        f"{newest} cannot be read (Permission denied); it must be a file that you may read"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*/*")} == before
    assert (folder.path / "metrics.csv").read_bytes() == tables
    assert train_here(run, "stopped")[0] == "done"
    assert table(folder).equals(table(whole))


@pytest.mark.parametrize("name", ["metrics.csv", "rounds.csv"])
def test_a_table_that_cannot_be_read_is_not_damaged(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from prsgd import run_folder

    run = small_run()
    _, folder = train_here(run, "stopped", stopping_at(5))
    monkeypatch.setattr(run_folder, "read_bytes", denied(name))
    with pytest.raises(UserError, match="cannot be read"):
        train_here(run, "stopped")
    assert [path.name for path in folder.checkpoints.iterdir()] == ["000000016"]


@pytest.mark.parametrize("name", ["config.yaml", "status.json", "environment.json"])
@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str, what: str) -> None:
    """A pipe would hang who reads it."""
    (tmp_path / "config.yaml").write_text("version: 2")
    (tmp_path / name).unlink(missing_ok=True)
    (os.mkfifo if what == "pipe" else os.mkdir)(tmp_path / name)
    folder = RunFolder(tmp_path)
    read = {"config.yaml": folder.config, "status.json": folder.status}
    with pytest.raises(UserError) as refusal:
        read.get(name, folder.environment)()
    assert str(refusal.value) == (
        f"{tmp_path / name} cannot be read (it is not a regular file); "
        "it must be a file that you may read"
    )


@pytest.mark.parametrize("name", ["environment.json", "metrics.csv", "rounds.csv"])
def test_a_pipe_among_the_records_does_not_hang_a_report(train_here: Trainer, name: str) -> None:
    _, folder = train_here(small_run(epochs=1))
    (folder.path / name).unlink()
    os.mkfifo(folder.path / name)
    [(path, why)] = load(folder.path)[1]
    assert path == folder.path
    assert "it is not a regular file" in why


@pytest.mark.parametrize(
    "keys",
    [
        {"algorithm": part("easgd", interval=64)},
        {"algorithm": part("scaffold", interval=64)},
        {"optimiser": "adamw", "algorithm": part("diloco", interval=64)},
        {"momentum": 0.9, "algorithm": part("one_shot")},
    ],
    ids=str,
)
def test_no_method_is_done_with_a_model_that_is_not_finite(
    train_here: Trainer, keys: dict[str, Any]
) -> None:
    """In whatever the method keeps the infinity."""
    status, folder = train_here(small_run(lr=1e38, **keys))
    assert status == "diverged"
    assert not (folder.path / "model.safetensors").exists()


def test_what_lies_in_checkpoint_and_is_not_ours_stays(train_here: Trainer) -> None:
    run = small_run(algorithm=part("prsgd", interval=2))
    _, folder = train_here(run, "stopped", stopping_at(4))
    foreign = [".DS_Store", "000000010.bak", "000000099", ".000000001/notes", "000000003/notes"]
    (folder.checkpoints / "linked").symlink_to(folder.path)
    for name in foreign:
        path = folder.checkpoints / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert train_here(run, "stopped")[0] == "done"
    for name in foreign:
        assert (folder.checkpoints / name).read_text() == "mine"
    assert (folder.path / "config.yaml").exists()
    mine = [p.name for p in checkpoint_files._checkpoints(folder.checkpoints)]
    assert mine == ["000000006", "000000040"]


def test_a_checkpoint_folder_that_is_a_link_is_not_followed(
    train_here: Trainer, tmp_path: Path
) -> None:
    run = small_run()
    _, folder = train_here(run, "stopped", stopping_at(5))
    elsewhere = folder.checkpoints.rename(tmp_path / "elsewhere")
    (elsewhere / "000000001").mkdir()
    folder.checkpoints.symlink_to(elsewhere)
    with pytest.raises(UserError) as refusal:
        train_here(run, "stopped")
    assert str(refusal.value) == (
        f"{folder.checkpoints} is a link or a file; it must be a folder of this run's own"
    )
    assert sorted(path.name for path in elsewhere.iterdir()) == ["000000001", "000000016"]


@pytest.mark.parametrize("name", ["metrics.csv", "rounds.csv"])
def test_a_table_that_is_a_link_is_not_written_through(
    train_here: Trainer, tmp_path: Path, name: str
) -> None:
    run = small_run()
    _, folder = train_here(run, "stopped", stopping_at(5))
    target = (folder.path / name).rename(tmp_path / "target.csv")
    (folder.path / name).symlink_to(target)
    text = target.read_bytes()
    with pytest.raises(UserError) as refusal:
        train_here(run, "stopped")
    line = f"{folder.path / name} is a link; prsgd writes into its own files only"
    assert str(refusal.value) == line
    assert target.read_bytes() == text


def test_every_file_has_the_mode_of_the_umask(train_here: Trainer, cache: Path) -> None:
    old = os.umask(0o027)
    try:
        run = small_run(data=part("synthetic", train=164, test=40, size=8))
        _, folder = train_here(run)
    finally:
        os.umask(old)
    cached = cache / f"{run.data.fingerprint()}.safetensors"
    for path in (cached, *(p for p in folder.path.rglob("*") if p.is_file())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, path


# a model that is not finite is never done ---------------------------------------------------------


def test_a_model_that_overflows_in_the_last_step_is_not_done(train_here: Trainer) -> None:
    """Its losses were finite: they are those of the step before."""
    status, folder = train_here(small_run(lr=1e38, epochs=0.01))
    assert status == "diverged"
    assert folder.status() == ("diverged", "the training loss is nan at step 1")
    assert not (folder.path / "model.safetensors").exists()
    assert not list(folder.checkpoints.glob("*"))


@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_a_run_that_diverged_diverges_again(train_here: Trainer, reduction: str) -> None:
    """Killed before its status was written, it is not taken for done."""
    keys = {"lr": 1e9, "reduction": reduction, "checkpoint_seconds": 0.0}
    run = small_run(algorithm=part("prsgd", interval=64), **keys)
    status, folder = train_here(run)
    assert status == "diverged"
    why = folder.status()
    assert train_here(run)[0] == "diverged"
    assert folder.status() == why


def test_a_checkpoint_of_the_end_that_is_not_finite_is_not_done(train_here: Trainer) -> None:
    """As version 0.1 may have left it."""
    run = small_run()
    _, folder = train_here(run)
    [path] = folder.checkpoints.glob("*/part-0.safetensors")
    tensors = load_file(path)
    tensors["x.1"][3] = torch.nan
    save_file(tensors, path)
    manifest = json.loads((path.parent / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["parts"][path.name] = checkpoint_files._checksum(path)
    sealed = {"sha256": checkpoint_files._seal(manifest), **manifest}
    (path.parent / "manifest.json").write_text(json.dumps(sealed))
    assert train_here(run)[0] == "diverged"
    assert folder.status() == ("diverged", "the model is not finite at step 40")


@pytest.mark.dist
def test_divergence_is_seen_in_the_same_step_on_any_number_of_processes(
    prsgd: Command, tmp_path: Path
) -> None:
    found = set()
    for processes in (1, 2, 3):
        keys = ("lr=1e9", "interval=64", "epochs=7", "reduction=exact")
        out = f"P{processes}"
        done = prsgd("train", *SMALL, *keys, f"processes={processes}", f"out={out}")
        assert done.returncode == 3, done.stderr
        [folder] = folders(tmp_path / out)
        found.add((folder / "status.json").read_text())
    assert len(found) == 1
