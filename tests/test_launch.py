"""How a run is started: the pure decision, and real processes that talk over gloo."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, numbers, part, small_run, table
from test_data import tree

from prsgd.config.plan import Job, Machine, decide
from prsgd.distributed.placement import placement
from prsgd.distributed.wire import wire_bytes
from prsgd.errors import UserError
from prsgd.training.interrupt import SIGNAL_WEIGHTS, Interrupt, signal_of

LAPTOP = Machine(gpus=0, cores=8, linux=True, bf16={"cpu": False, "cuda": False})
MAC = Machine(gpus=0, cores=8, linux=False, bf16={"cpu": True, "cuda": False})
SERVER = Machine(gpus=8, cores=64, linux=True, bf16={"cpu": False, "cuda": True})
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("keys", "machine", "environment", "alone", "expected"),
    [
        # workers of the algorithm against what there is to host them
        ({"workers": 1}, LAPTOP, {}, True, ("cpu", 1, 8, "fp32", "in_process")),
        ({"workers": 1}, LAPTOP, {}, False, ("cpu", 1, 8, "fp32", "fork")),
        ({"workers": 4}, LAPTOP, {}, True, ("cpu", 4, 2, "fp32", "fork")),
        ({"workers": 6}, LAPTOP, {}, True, ("cpu", 6, 1, "fp32", "fork")),
        ({"workers": 32}, LAPTOP, {}, True, ("cpu", 8, 1, "fp32", "fork")),
        ({"workers": 4}, MAC, {}, True, ("cpu", 4, 2, "bf16", "spawn")),
        ({"workers": 8}, SERVER, {}, True, ("cuda", 8, 8, "bf16", "spawn")),
        ({"workers": 6}, SERVER, {}, True, ("cuda", 6, 10, "bf16", "spawn")),
        ({"workers": 16}, SERVER, {}, True, ("cuda", 8, 8, "bf16", "spawn")),
        ({"workers": 1}, SERVER, {}, True, ("cuda", 1, 64, "bf16", "in_process")),
        # what the user says wins
        ({"workers": 8, "processes": 1}, SERVER, {}, True, ("cuda", 1, 64, "bf16", "in_process")),
        ({"workers": 8, "device": "cpu"}, SERVER, {}, True, ("cpu", 8, 8, "fp32", "fork")),
        ({"workers": 4, "threads": 3}, LAPTOP, {}, True, ("cpu", 4, 3, "fp32", "fork")),
        ({"workers": 4, "precision": "bf16"}, LAPTOP, {}, True, ("cpu", 4, 2, "bf16", "fork")),
        ({"workers": 4, "precision": "fp32"}, SERVER, {}, True, ("cuda", 4, 16, "fp32", "spawn")),
        # OMP_NUM_THREADS is the default of threads, but for torchrun's own
        ({"workers": 4}, LAPTOP, {"OMP_NUM_THREADS": "3"}, True, ("cpu", 4, 3, "fp32", "fork")),
        ({"workers": 4}, LAPTOP, {"OMP_NUM_THREADS": "4,3"}, True, ("cpu", 4, 2, "fp32", "fork")),
        (
            {"workers": 4, "threads": 1},
            LAPTOP,
            {"OMP_NUM_THREADS": "3"},
            True,
            ("cpu", 4, 1, "fp32", "fork"),
        ),
        (
            {"workers": 6},
            LAPTOP,
            {**TORCHRUN, "OMP_NUM_THREADS": "1"},
            True,
            ("cpu", 4, 4, "fp32", "torchrun"),
        ),
        # a torchrun of somebody else's has decided already
        ({"workers": 6}, LAPTOP, TORCHRUN, True, ("cpu", 4, 4, "fp32", "torchrun")),
        (
            {"workers": 4, "processes": 4},
            SERVER,
            TORCHRUN,
            True,
            ("cuda", 4, 32, "bf16", "torchrun"),
        ),
    ],
)
def test_decision(keys, machine, environment, alone, expected) -> None:
    run = small_run(**{"precision": "auto", "threads": "auto", **keys})
    plan = decide(run, machine, environment, alone)
    assert (plan.device, plan.processes, plan.threads, plan.precision, plan.start) == expected


@pytest.mark.parametrize(
    ("keys", "environment", "message"),
    [
        ({"device": "cuda"}, {}, "device=cuda: there is no CUDA GPU here; it must be auto or cpu"),
        (
            {"workers": 2},
            TORCHRUN,
            "workers=2: must be at least the 4 processes that torchrun started: "
            "each hosts one worker or more",
        ),
        (
            {"workers": 8, "processes": 8},
            TORCHRUN,
            "processes=8: torchrun started 4; leave it out",
        ),
    ],
)
def test_refusals(keys, environment, message) -> None:
    with pytest.raises(UserError) as refusal:
        decide(small_run(**keys), LAPTOP, environment)
    assert str(refusal.value) == message


def test_placement_is_even_and_in_order() -> None:
    assert placement(6, 4) == [range(0, 1), range(1, 3), range(3, 4), range(4, 6)]
    for workers in range(1, 20):
        for processes in range(1, workers + 1):
            parts = placement(workers, processes)
            assert [worker for part in parts for worker in part] == list(range(workers))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_ring_sends_twice_all_but_one_part() -> None:
    assert [wire_bytes(1000, n) for n in (1, 2, 4, 8)] == [0, 1000, 1500, 1750]


def test_the_signal_behind_a_sum() -> None:
    assert signal_of(8 * SIGNAL_WEIGHTS[signal.SIGINT]) == signal.SIGINT
    assert signal_of(SIGNAL_WEIGHTS[signal.SIGTERM]) == signal.SIGTERM


SMALL = [  # 10 steps an epoch, 70 in all
    *("model=mlp", "model.width=16", "schedule=constant", "lr=0.05", "batch_size=4", "workers=6"),
    *("data=synthetic", "data.train=240", "data.test=60", "data.size=8", "data.crop=1", "epochs=7"),
    *("precision=fp32", "threads=1", "device=cpu"),
]


def folders(out: Path) -> list[Path]:
    return sorted(path.parent for path in out.glob("*/config.yaml"))


def listen(stop: Interrupt, heard: Any) -> None:
    """A rank: says that it has begun, and then what it was told."""
    with stop:
        heard.put("begun")
        end = time.monotonic() + 20
        while not stop() and time.monotonic() < end:
            time.sleep(0.01)
        heard.put(stop())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_an_agent_is_told_its_ranks_see(method: str, when: str) -> None:
    """Whether they have begun when the signal comes or not."""
    context = multiprocessing.get_context(method)
    heard = context.Queue()
    with Interrupt(shared=True) as stop:
        rank = context.Process(target=listen, args=(stop, heard))
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        rank.start()
        assert heard.get(timeout=30) == "begun"
        if when == "after":
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard.get(timeout=30) == SIGNAL_WEIGHTS[signal.SIGTERM]
        rank.join()


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("momentum=0.9",), marks=pytest.mark.faults),
        pytest.param(("algorithm=minibatch",), marks=pytest.mark.faults),
        ("algorithm=prsgd_heterogeneous", "local_steps=[4,4,3,2,1,1]"),
    ],
)
def test_processes_do_not_matter(prsgd: Command, tmp_path: Path, more: tuple[str, ...]) -> None:
    """N = 6 on P = 1, 2, 4: the same metrics to 1e-5."""
    found = {}
    for processes in (1, 2, 4):
        out = f"P{processes}"
        done = prsgd("train", *SMALL, *more, f"processes={processes}", f"out={out}")
        assert done.returncode == 0, done.stderr
        [folder] = folders(tmp_path / out)
        rounds = table(folder, "rounds.csv").drop(columns="local_steps").astype(float)
        found[processes] = numbers(folder), rounds
    for frames in (found[2], found[4]):
        for ours, alone in zip(frames, found[1], strict=True):
            assert len(ours) == len(alone) > 1
            np.testing.assert_allclose(ours, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.dist
def test_exact_reduction_is_bitwise(prsgd: Command, tmp_path: Path) -> None:
    found = []
    for processes in (1, 3):
        out = f"P{processes}"
        more = ("reduction=exact", f"processes={processes}", f"out={out}", "momentum=0.9")
        assert prsgd("train", *SMALL, *more).returncode == 0
        [folder] = folders(tmp_path / out)
        found.append((folder, table(folder)))
    assert found[0][1].equals(found[1][1])
    assert found[0][0].name == found[1][0].name


SPAWNED = """
from prsgd.cli.main import main
from prsgd.config import plan

plan._start_method = lambda machine, device, here, may_fork: "in_process" if here else "spawn"
main()
"""


@pytest.mark.dist
@pytest.mark.parametrize("processes", [1, 2])
def test_spawned_processes_train_as_forked_ones_do(
    processes: int, tmp_path: Path, cache: Path
) -> None:
    """A sweep, whose runs start as those on GPUs do."""
    for out, command in (("forked", ["-m", "prsgd"]), ("spawned", ["-c", SPAWNED])):
        few = [*SMALL, "epochs=1", "interval=2,5", f"processes={processes}", f"out={out}"]
        done = subprocess.run(
            [sys.executable, *command, "train", "-m", *few],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
    for forked, spawned in zip(
        folders(tmp_path / "forked"), folders(tmp_path / "spawned"), strict=True
    ):
        for name in ("metrics.csv", "rounds.csv"):
            assert table(spawned, name).equals(table(forked, name))


@pytest.mark.dist
def test_joins_a_torchrun(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    """Two agents, as on two machines, and the same curve as from our own agent."""
    assert prsgd("train", *SMALL, "processes=2", "out=own").returncode == 0
    agents = [
        subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "torch.distributed.run",
                    "--nnodes=2",
                    "--nproc-per-node=1",
                ),
                *("--rdzv-backend=c10d", "--rdzv-endpoint=localhost:29617", "--rdzv-id=test"),
                *("--local-addr=localhost", "-m", "prsgd", "train", *SMALL, "out=joined"),
            ],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [agent.communicate(timeout=100)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    [own], [joined] = folders(tmp_path / "own"), folders(tmp_path / "joined")
    assert own.name == joined.name
    assert table(own).equals(table(joined))
    assert sum("test accuracy" in output for output in outputs) == 1  # rank 0 alone speaks


def test_a_gpu_hosts_one_process() -> None:
    with pytest.raises(UserError) as refusal:
        decide(small_run(workers=16, processes=9), SERVER, {})
    assert str(refusal.value) == (
        "processes=9: must be auto or at most the 8 GPUs that are here; "
        "a GPU hosts any number of workers"
    )


@pytest.mark.parametrize("data", ["synthetic", "image_folder"])
def test_a_job_can_be_sent_to_a_spawned_process(tmp_path: Path, data: str) -> None:
    parts = {"synthetic": part("synthetic"), "image_folder": {}}
    if data == "image_folder":
        root = str(tree(tmp_path / "insects"))
        parts[data] = {"_target_": "prsgd.data.folder.ImageFolder", "root": root}
    run = small_run(data=parts[data], workers=1)
    run.data.fingerprint()
    run.steps(run.data.train_samples())
    job = Job(run, decide(run, LAPTOP, {}), tmp_path, tmp_path)
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.dist
def test_divergence_is_no_crash_to_a_torchrun(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [*torchrun, "-m", "prsgd", "train", *SMALL, "lr=1e9", "out=wild"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("diverged: the training loss is") == 1
    [folder] = folders(tmp_path / "wild")
    assert '"diverged"' in (folder / "status.json").read_text()


@pytest.mark.dist
def test_a_signal_to_every_process_leaves_a_checkpoint(
    prsgd: Command, tmp_path: Path, cache: Path
) -> None:
    """As Slurm and systemd send it: to the ranks and to their agent, which tells them again."""
    child = start(tmp_path, cache, "epochs=3000", "processes=2", "out=stopped")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "stopped"))
    for rank in children(child.pid):
        os.kill(rank, signal.SIGTERM)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 143, output
    [folder] = folders(tmp_path / "stopped")
    assert '"interrupted", "why": "SIGTERM at step' in (folder / "status.json").read_text()
    assert list((folder / "checkpoint").glob("*/manifest.json"))


@pytest.mark.dist
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(("momentum=0.9",), marks=pytest.mark.faults),
        ("algorithm=scaffold", "interval=7"),
    ],
)
def test_a_run_moves_to_another_number_of_processes(
    prsgd: Command, tmp_path: Path, cache: Path, more: tuple[str, ...]
) -> None:
    """Stopped on P = 2, gone on with on P = 3, and bitwise what P = 1 gives with exact sums."""
    keys = ("reduction=exact", "epochs=100", *more)
    child = start(tmp_path, cache, *keys, "processes=2", "out=moved")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "moved"))
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 143, output
    again = prsgd("train", *SMALL, *keys, "processes=3", "out=moved")
    assert again.returncode == 0, again.stderr
    assert "resuming at step" in again.stdout
    assert prsgd("train", *SMALL, *keys, "processes=1", "out=whole").returncode == 0
    [moved], [whole] = folders(tmp_path / "moved"), folders(tmp_path / "whole")
    for name in ("metrics.csv", "rounds.csv"):
        assert table(moved, name).equals(table(whole, name))


def start(tmp_path: Path, cache: Path, *keys: str) -> subprocess.Popen[str]:
    """A run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "prsgd", "train", *SMALL, *keys],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.dist
@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.faults), 2])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.faults)],
    ids=["term", "int"],
)
def test_a_signal_stops_and_the_same_command_resumes(
    prsgd: Command, tmp_path: Path, cache: Path, processes: int, number: int, code: int
) -> None:
    keys = ("epochs=100", f"processes={processes}", "seed=3")
    child = start(tmp_path, cache, *keys, "out=stopped")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "stopped"))
    child.send_signal(number)
    output, _ = child.communicate(timeout=40)
    assert child.returncode == code, output
    assert "torch" not in output  # what its agent has to say of signals
    [folder] = folders(tmp_path / "stopped")
    assert f"interrupted: {signal.Signals(number).name} at step" in output
    assert '"interrupted"' in (folder / "status.json").read_text()
    again = prsgd("train", *SMALL, *keys, "out=stopped")
    assert again.returncode == 0, again.stderr
    assert "resuming at step" in again.stdout
    assert prsgd("train", *SMALL, *keys, "out=whole").returncode == 0
    [whole] = folders(tmp_path / "whole")
    assert table(folder).equals(table(whole))
    assert table(folder, "rounds.csv").equals(table(whole, "rounds.csv"))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def metrics_text(out: Path) -> str:
    """What metrics.csv holds after its header."""
    return "".join(p.read_text().partition("\n")[2] for p in out.glob("*/metrics.csv"))


@pytest.mark.dist
def test_a_dead_rank_is_a_failed_run(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    child = start(tmp_path, cache, "epochs=3000", "processes=2", "restarts=0", "out=dead")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "dead"))
    ranks = children(child.pid)
    assert len(ranks) >= 2
    os.kill(ranks[-1], signal.SIGKILL)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "failed: " in output
    assert "Traceback" not in output
    assert "Warning" not in output
    [folder] = folders(tmp_path / "dead")
    assert '"failed"' in (folder / "status.json").read_text()
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
