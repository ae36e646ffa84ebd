"""What a machine lacks or refuses is one line: memory, files, semaphores, disks, interfaces."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Command, small_run
from safetensors import SafetensorError

from prsgd.cli import main as command_line
from prsgd.config.plan import Job, Plan
from prsgd.distributed import communicator
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.placement import sharing
from prsgd.errors import UserError, lack, why
from prsgd.files import scratch_folder
from prsgd.launch import job as jobs
from prsgd.launch.torchrun import torchrun_rank
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import RunFolder
from prsgd.training import checkpoint_files, interrupt, machine
from prsgd.training.checkpoint_files import save_tensors
from prsgd.training.interrupt import Interrupt, leaving

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
TINY = "model=mlp data=synthetic data.train=64 data.size=8 device=cpu workers=2 batch_size=4"
ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 1228800000000 bytes. Error code 12 (Cannot allocate memory)"
)
HUGE = ["model.width=1000000000000"]
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError(ALLOCATOR), "out of memory, as 1228800000000 bytes more were asked for"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"),
            "out of memory, as 20.00 GiB more were asked for",
        ),
        (RuntimeError("epoll_create: Too many open files"), "too many open files; raise the limit"),
        (FULL, "[Errno 28] No space left on device"),
        (RuntimeError("shapes\ndiffer"), ""),
        (KeyError("x"), ""),
    ],
)
def test_what_a_machine_lacks_is_told_from_a_fault(error: Exception, line: str) -> None:
    assert lack(error).startswith(line)
    assert bool(lack(error)) == bool(line)
    assert why(error).startswith(line or str(error).split("\n")[0])


@pytest.mark.parametrize("error", [FULL, MemoryError(), RuntimeError(ALLOCATOR)])
def test_a_command_that_lacks_something_ends_in_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dispatch(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(command_line, "dispatch", dispatch)
    monkeypatch.setattr(command_line, "outlast_the_terminal", lambda: None)
    with pytest.raises(SystemExit) as end:
        command_line.main()
    assert (end.value.code, capsys.readouterr().err) == (1, f"prsgd: {lack(error)}\n")


def test_a_fault_of_the_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def dispatch(_: list[str]) -> int:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(command_line, "dispatch", dispatch)
    monkeypatch.setattr(command_line, "outlast_the_terminal", lambda: None)
    with pytest.raises(RuntimeError, match="shapes differ"):
        command_line.main()


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(UserError) as refusal, scratch_folder():
        pass
    assert str(refusal.value) == (
        "temporary files cannot be written (No usable temporary directory found in ['/tmp']); let "
        "TMPDIR name a folder that you may write to"
    )


@pytest.mark.parametrize("place", ["ranks", "signals"])
def test_ranks_that_cannot_be_started(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    """Their pipes, semaphores and shared memory want descriptors and /dev/shm."""

    def refuse(*_: Any, **__: Any) -> None:
        raise FULL

    target: Any = (jobs, "start_ranks") if place == "ranks" else (interrupt, "RawValue")
    monkeypatch.setattr(*target, refuse)
    run = small_run(workers=2, processes=2)
    folder = RunFolder(tmp_path / "run")
    folder.create(run.as_dict(), OF_IMAGES)
    folder.set_status("running")
    plan = Plan("cpu", 2, 1, "fp32", "fork", 2)
    assert jobs.launch(Job(run, plan, folder.path, tmp_path)) == 1
    line = (
        f"its processes cannot be started ({FULL}); look at /dev/shm and ulimit -n, or train with "
        "processes=1"
    )
    assert folder.status() == ("failed", line)
    assert capsys.readouterr().err == f"prsgd: run failed: {line}\n"


def test_one_process_shares_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "RawValue", None)
    assert Interrupt()() == 0


@LINUX
def test_a_signal_ends_what_waits_in_c() -> None:
    code = (
        "import ctypes, signal; from prsgd.training.interrupt import Interrupt, leaving\n"
        "with Interrupt() as asked, leaving(asked):\n"
        "    print(flush=True); [ctypes.CDLL(None).sleep(1) for _ in range(60)]"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        process.terminate()
        assert process.wait(timeout=30) == 128 + 15
        assert time.monotonic() - start < 10


def test_without_a_signal_nothing_leaves() -> None:
    with leaving(lambda: 0):
        ctypes.CDLL(None).usleep(1_100_000)


@LINUX
def test_torch_under_a_limit_on_memory(tmp_path: Path) -> None:
    command = f"ulimit -v 1000000; exec {sys.executable} -m prsgd train {TINY}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("prsgd: torch cannot be loaded here (")
    assert done.stderr.endswith("); is memory limited (ulimit -v)?\n")
    assert not list(tmp_path.iterdir())


def test_too_little_room_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "room_for_addresses", lambda: 137e6)
    with pytest.raises(UserError) as refusal:
        machine.this_machine()
    assert str(refusal.value) == (
        "memory is limited (ulimit -v) to 137 MB beyond what torch itself maps; it must be 500 MB "
        "at least"
    )


@LINUX
def test_room_is_what_a_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.room_for_addresses() == float("inf")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = 10**9 + pages * os.sysconf("SC_PAGESIZE")
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (limit, limit))
    assert machine.room_for_addresses() == pytest.approx(1e9, rel=0.1)


def test_calibration_says_what_a_rank_lacks(prsgd: Command) -> None:
    """One line, but for gloo's own where a rank ends while the other still meets it."""
    done = prsgd("advise", *TINY.split(), "threads=1", "processes=2", "--calibrate", *HUGE)
    assert done.returncode == 2
    assert done.stderr.endswith("out of memory, as 768000000000000 bytes more were asked for\n")
    lines = [line for line in done.stderr.splitlines() if "ProcessGroupGloo" not in line]
    assert len(lines) == 1


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["processes=2"]])
def test_models_beyond_the_memory_are_refused(
    tmp_path: Path, prsgd: Command, more: list[str]
) -> None:
    done = prsgd("train", *TINY.split(), *HUGE, *more)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(
        "prsgd: workers=2: their MLP-1000000000000 models and gradients need 3250 TB, and this "
        "machine has "
    )
    assert not list(tmp_path.iterdir())


def test_a_file_of_tensors_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise SafetensorError("I/O error: File too large (os error 27)")

    monkeypatch.setattr(checkpoint_files, "save_file", refuse)
    with pytest.raises(OSError, match="cannot be written: I/O error: File too large"):
        save_tensors({"x": torch.zeros(1)}, tmp_path / "x.safetensors")


def test_an_interface_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0,lo")
    assert torchrun_rank() == 1
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0,ib7")
    with pytest.raises(UserError) as refusal:
        torchrun_rank()
    assert str(refusal.value) == (
        "GLOO_SOCKET_IFNAME=ib7: must be a network interface of this machine; it has eth0, lo"
    )


def test_processes_that_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sharing([5, 7, 5, 9]) == [0, 2]
    assert sharing([5, 7, 9]) == []
    monkeypatch.setattr(communicator, "gpu_number", lambda _: 5)
    ranks = SimpleNamespace(device="cuda:0", _gather_ranks=lambda number: [7, number, number])
    with pytest.raises(UserError) as refusal:
        Communicator._refuse_shared_gpus(ranks)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        "ranks 1, 2 share a GPU; each needs one of its own: start at most one for each GPU, and "
        "look at CUDA_VISIBLE_DEVICES"
    )
