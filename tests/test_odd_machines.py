"""Disks without locks, records that are bombs, and environments that changed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Trainer, small_run
from test_data import silent

from prsgd.config.build import build_run
from prsgd.data import cache as data_cache
from prsgd.data.cache import prepare
from prsgd.data.sets import Synthetic
from prsgd.errors import UserError
from prsgd.locks import Taken, held
from prsgd.measures import OF_IMAGES
from prsgd.plain_yaml import read_yaml
from prsgd.run_folder import RunFolder
from prsgd.training import environment
from prsgd.training.environment import commit, going_on


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_a_disk_without_locks_gets_a_file(tmp_path: Path) -> None:
    told: list[str] = []
    lock, owner = tmp_path / ".lock", tmp_path / ".lock.owner"
    with held(lock, told.append):
        assert told == [f"{tmp_path} is on a disk without locks; a file says who writes there"]
        assert owner.read_text().startswith(f"process {os.getpid()} on {socket.gethostname()}")
        with pytest.raises(Taken) as taken, held(lock, told.append):
            pass
        assert str(taken.value) == f"{owner.read_text().strip()}; if that is over, delete {owner}"
    assert not owner.exists()


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_file_of_a_killed_process_is_taken_over(tmp_path: Path, host: str) -> None:
    """If it was one of this machine's: of another's nobody can tell."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    name = socket.gethostname() if host == "here" else "another"
    text = f"process {ended.pid} on {name} since today"
    (tmp_path / ".lock.owner").write_text(text)
    if host == "here":
        with held(tmp_path / ".lock", print):
            assert str(os.getpid()) in (tmp_path / ".lock.owner").read_text()
    else:
        with pytest.raises(Taken), held(tmp_path / ".lock", print):
            pass
        assert (tmp_path / ".lock.owner").read_text() == text


def test_another_error_of_a_lock_is_no_lack_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), held(tmp_path / ".lock", print):
        pass


def test_who_waits_for_another_s_cache_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data_cache, "POLL_SECONDS", 0.01)
    data = Synthetic(train=64, size=8)
    lock = tmp_path / f"{data.fingerprint()}.lock"
    code = (
        "import sys, time; from pathlib import Path; from prsgd.locks import held\n"
        "with held(Path(sys.argv[1]), print): print(flush=True); time.sleep(0.5)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        start = time.monotonic()
        prepare(data, tmp_path, silent)
        assert time.monotonic() - start > 0.2
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"waiting for process {other.pid} on ")
    assert line.endswith(", which reads the same data")


def bomb(levels: int) -> str:
    """A billion laughs: each line stands for nine of the line before."""
    lines = ["version: 2", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "aliases": (bomb(30), "it is nested too deeply, or has too many aliases"),
    "depth": ("version: " + "[" * 5000, ""),
    "mappings": ("".join(f"{' ' * n}a:\n" for n in range(300)), "it is nested too deeply"),
    "size": ("version: 2\n#" + "x" * 2_000_000, "it has more than 1,000,000 bytes"),
    "digits": ("version: " + "9" * 5000, ""),
    "a list as a key": ("version: 2\n? [a]\n: b", ""),
    "no text": ("version: \0", "it is not valid YAML"),
    "python": ("version: !!python/object/apply:os.getcwd []", "it is not valid YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_record_is_plain_data_of_a_bounded_size(tmp_path: Path, name: str) -> None:
    text, why = BOMBS[name]
    (tmp_path / "config.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(UserError) as refusal:
        RunFolder(tmp_path).config()
    assert str(refusal.value).startswith(f"{tmp_path}/config.yaml is damaged: {why}")
    assert time.process_time() - start < 1


def test_a_few_aliases_are_no_bomb() -> None:
    assert read_yaml(b"a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    "more",
    [{"out": "${oc.env:SECRET}"}, {"data": {"label": "${oc.env:SECRET}"}}, {"speeds": ["${lr}"]}],
)
def test_a_run_folder_resolves_nothing(
    tmp_path: Path, prsgd: Command, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.setenv("SECRET", "told")
    folder = RunFolder(tmp_path / "run")
    config = small_run().as_dict()
    folder.create({**config, **more, "data": config["data"] | more.get("data", {})}, OF_IMAGES)
    done = prsgd("run", "run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "must be plain; ${...} is resolved in conf/ only" in done.stderr
    assert "told" not in "".join(p.read_text() for p in folder.path.rglob("*") if p.is_file())


def test_a_crop_beyond_the_image_is_refused() -> None:
    data = {**small_run().as_dict()["data"], "crop": 100_000}
    with pytest.raises(UserError) as refusal:
        build_run({**small_run().as_dict(), "data": data})
    assert str(refusal.value) == "data.crop=100000: must be at most data.size=8"


def test_environments_have_a_history() -> None:
    first = {"torch": "2.6", "processes": 2}
    same, note = going_on(first, first, 10)
    assert (same, note) == (first, "")
    moved, note = going_on(first, {"torch": "2.6", "processes": 4}, 10)
    assert note == ""
    assert moved["history"] == [{"until_step": 10, **first}]
    newer, note = going_on(moved, {"torch": "2.7", "processes": 4}, 25)
    assert note == "going on with torch 2.7 (was 2.6)"
    assert newer["history"] == [
        {"until_step": 10, "torch": "2.6", "processes": 2},
        {"until_step": 25, "torch": "2.6", "processes": 4},
    ]
    assert going_on({}, first, 0) == (first, "")


def test_a_run_that_goes_on_elsewhere_says_so(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = iter(range(100))
    train_here(small_run(), stop=lambda: next(asked) >= 25)
    own = environment.cpu_name()
    monkeypatch.setattr(environment, "cpu_name", lambda: "Another 3000")
    capsys.readouterr()
    status, folder = train_here(small_run())
    assert status == "done"
    assert f"going on with processor Another 3000 (was {own})" in capsys.readouterr().out
    record = folder.environment()
    assert record["processor"] == "Another 3000"
    assert [past["processor"] for past in record["history"]] == [own]


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_a_repository_that_prsgd_is_only_installed_in_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    package = tmp_path / "venv/prsgd/training/environment.py"
    package.parent.mkdir(parents=True)
    package.touch()
    (tmp_path / "mine").touch()
    for command in (["init", "-q"], ["add", "mine"], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(environment, "__file__", str(package))
    assert commit() is None
    for command in (["add", "."], ["commit", "-qm", "a checkout"]):
        subprocess.run([*git, *command], check=True)
    made = commit()
    assert made
    package.write_text("changed")
    assert commit() == f"{made}+"


def test_what_a_kill_left_of_a_record_is_removed(tmp_path: Path, prsgd: Command) -> None:
    keys = ["data=synthetic", "data.train=64", "data.size=8", "model=mlp", "device=cpu"]
    keys += ["workers=2", "batch_size=4", "epochs=1", "threads=1", "processes=1"]
    prsgd("train", *keys)
    [folder] = (tmp_path / "runs").iterdir()
    RunFolder(folder).set_status("interrupted")
    for name in (".status.json.4194999", ".environment.json.17", ".config.yaml.17"):
        (folder / name).write_text("{")
    (folder / ".mine.json.17").write_text("{")
    assert prsgd("train", *keys).returncode == 0
    hidden = {path.name for path in folder.glob(".*")}
    assert hidden == {".lock", ".mine.json.17"}
