"""Where ranks of one machine meet: nothing of theirs can be reached from another one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import torch
from conftest import Command, part, small_run

from prsgd.config.naming import run_name
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.heartbeat import Heartbeat
from prsgd.distributed.meeting import Meeting
from prsgd.errors import ProcessLost
from prsgd.files import SCRATCH, SCRATCH_LOCK, scratch_folder
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import RunFolder

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
RUN = [
    *("data=synthetic", "data.train=512", "data.size=8", "model=mlp", "device=cpu", "workers=4"),
    *("interval=1", "batch_size=1", "epochs=6", "threads=1"),
]
LOOPBACK = ("0100007F", "00000000000000000000000001000000")  # as /proc writes 127.0.0.1 and ::1
LISTENS = "0A"


def processes_in(folder: Path) -> list[Path]:
    """The /proc entries of the processes whose working folder is this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(process)
    return found


def listening(processes: list[Path]) -> dict[str, int]:
    """Address -> number of TCP sockets that listen there, over all these processes."""
    links = set()
    for process in processes:
        with contextlib.suppress(OSError):
            links |= {str(link.readlink()) for link in (process / "fd").iterdir()}
    found: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTENS and f"socket:[{rest[5]}]" in links:
                address = local.partition(":")[0]
                found[address] = found.get(address, 0) + 1
    return found


@LINUX
@pytest.mark.parametrize(
    "arguments", [("processes=2",), ("-m", "seed=0,1", "processes=1")], ids=" ".join
)
def test_nothing_listens_beyond_the_machine(
    tmp_path: Path, cache: Path, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "prsgd", "train", *RUN, *arguments]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as run:
        heard: dict[str, int] = {}
        while run.poll() is None:
            heard |= listening(processes_in(tmp_path))
            time.sleep(0.05)
        assert run.returncode == 0
    assert not {*heard} - {*LOOPBACK}
    assert bool(heard) == ("processes=2" in arguments)  # gloo's own, on the loopback


def test_a_run_leaves_nothing_in_the_temporary_folder(prsgd: Command, tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place)}
    done = prsgd("train", *RUN, "epochs=1", "processes=2", env=environment)
    assert done.returncode == 0, done.stderr
    assert [*place.iterdir()] == []


@LINUX
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, cache: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "prsgd", "train", *RUN, "processes=2"]
    options = {"cwd": tmp_path, "env": environment}
    with subprocess.Popen(command, **options, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if line.startswith("epoch 2"))
        os.kill(run.pid, signal.SIGKILL)
    while processes_in(tmp_path):  # the ranks notice that their agent is gone
        time.sleep(0.1)
    assert [*place.iterdir()] != []
    done = subprocess.run(command, **options, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert [*place.iterdir()] == []
    [folder] = (tmp_path / "runs").iterdir()
    assert RunFolder(folder).status() == ("done", "")


def test_scratch_folders_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose process lives, one without a lock, and a link."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("alive", "dead"):
        (tmp_path / f"{SCRATCH}{name}").mkdir()
        (tmp_path / f"{SCRATCH}{name}/{SCRATCH_LOCK}").touch()
    (tmp_path / f"{SCRATCH}mine").mkdir()
    (tmp_path / f"{SCRATCH}link").symlink_to(tmp_path / f"{SCRATCH}dead")
    with (tmp_path / f"{SCRATCH}alive/{SCRATCH_LOCK}").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch_folder() as folder:
            there = {path.name for path in tmp_path.iterdir()}
            assert there == {
                *(f"{SCRATCH}{name}" for name in ("alive", "mine", "link")),
                folder.name,
            }
    assert not folder.exists()


def test_run_folders_beside_scratch_folders_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `out` is the folder for temporary files, and nobody trains the run any more."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = small_run(algorithm=part("prsgd", interval=8))
    for name in (run_name(run, "fp32", "toys"), f"{SCRATCH}I8"):
        folder = RunFolder(tmp_path / name)
        folder.create(run.as_dict(), OF_IMAGES)
        with folder.held(print):
            folder.set_status("done")
    with scratch_folder():
        pass
    assert len([*tmp_path.glob("*/config.yaml")]) == 2


def test_a_store_that_does_not_answer_is_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ranks of a torchrun of somebody else's have no other memory."""
    heartbeat = object.__new__(Heartbeat)
    heartbeat.rank, heartbeat.processes, heartbeat.beats = 1, 2, None
    answered = Event()
    heartbeat.store = SimpleNamespace(get=lambda key: answered.wait(60) and "0 0")
    monkeypatch.setattr("prsgd.distributed.heartbeat.STORE_SECONDS", 0.1)
    assert heartbeat.missing("Timed out waiting 300000ms") == (
        "a process was lost: rank 0, which keeps the store, does not answer"
    )
    answered.set()


def test_the_rank_that_is_behind_is_read_from_shared_memory() -> None:
    heartbeat = object.__new__(Heartbeat)
    heartbeat.rank, heartbeat.processes, heartbeat.collectives = 0, 3, 6
    heartbeat.beats = [0] * 6
    heartbeat.beats[2:] = [7, 40, 5, 31]
    heartbeat.beat(40, everyone=True)
    assert heartbeat.beats == [7, 40, 7, 40, 5, 31]
    assert heartbeat.missing("Timed out waiting 300000ms") == (
        "a process was lost: rank 0 waited in step 40; rank 2 was in step 31"
    )


class LateWork:
    """A collective that is under way for a while, and whose error shows in the wait only."""

    def __init__(self, error: str = "", looks: float = 3) -> None:
        self.error = error
        self.looks = looks

    def is_completed(self) -> bool:
        self.looks -= 1
        return self.looks <= 0

    def wait(self) -> None:
        if self.error:
            raise RuntimeError(self.error)


def waiting(monkeypatch: pytest.MonkeyPatch, work: LateWork, meeting: Meeting) -> Communicator:
    """A rank 0 of two whose collectives are `work`."""
    communicator = Communicator(2, "cpu", "fast")
    communicator.processes, communicator.peers.meeting = 2, meeting
    heartbeat = object.__new__(Heartbeat)
    heartbeat.rank, heartbeat.processes, heartbeat.collectives = 0, 2, 0
    heartbeat.beats = meeting.beats
    communicator.peers.heartbeat = heartbeat
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_, **__: work)
    return communicator


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("NCCL communicator was aborted on rank 0.", "a process was lost"),
        ("Timed out waiting 300000ms", "a process was lost: rank 0 waited in step 5; rank 1 was"),
    ],
)
def test_an_error_that_comes_late_is_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, line: str
) -> None:
    """And no failure of the run, which is not started again."""
    communicator = waiting(monkeypatch, LateWork(error), Meeting.of(2, tmp_path))
    communicator.enter_step(5)
    with pytest.raises(ProcessLost) as loss:
        communicator.mean([torch.zeros(2, 3)], torch.zeros(2))
    assert str(loss.value).startswith(line)


def test_a_collective_that_takes_its_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    communicator = waiting(monkeypatch, LateWork(looks=50), Meeting.of(2, tmp_path))
    assert communicator.mean([torch.ones(2, 3)], torch.zeros(2)).means[0].tolist() == [1, 1, 1]


@LINUX
def test_a_peer_that_ended_is_missed_where_its_backend_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL does. A peer of an earlier start, and one that left in order, are not missed."""
    monkeypatch.setattr("prsgd.distributed.peers.GONE_SECONDS", 0.01)
    meeting = Meeting.of(2, tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as peer:
        meeting.here[2:] = [0, peer.pid]
        assert meeting.gone() == []
        assert peer.stdin is not None
        peer.stdin.close()
        while not meeting.gone():  # it has ended, and nobody has asked how: it is a zombie
            time.sleep(0.01)
        communicator = waiting(monkeypatch, LateWork(looks=1e9), meeting)
        with pytest.raises(ProcessLost, match="a process was lost: rank 1 has ended"):
            communicator.mean([torch.zeros(2, 3)], torch.zeros(2))
    assert meeting.gone() == [1]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert meeting.gone() == []
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    meeting.leave(1)
    assert meeting.gone() == []


def test_a_signal_is_heard_while_a_process_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    communicator = waiting(monkeypatch, LateWork(looks=2000), Meeting.of(2, tmp_path))
    heard: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        communicator.mean([torch.zeros(2, 3)], torch.zeros(2))
        assert heard
        assert heard[0] < time.monotonic() - 0.05
    finally:
        signal.signal(signal.SIGALRM, before)
