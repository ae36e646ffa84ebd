"""What only a GPU can show; what is decided about GPUs is tested without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, numbers, table
from test_launch import children, folders, metrics_text, wait_until

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here"),
]
SMALL = [
    *("model=resnet8", "data=synthetic", "data.train=240", "data.test=60", "workers=4", "epochs=2"),
    *("schedule=constant", "lr=0.05", "batch_size=4", "device=cuda", "processes=1"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_a_run_on_one_gpu(prsgd: Command, tmp_path: Path, precision: str, reduction: str) -> None:
    done = prsgd("train", *SMALL, f"precision={precision}", f"reduction={reduction}")
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    losses = numbers(folder)["consensus_train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]


def test_a_sweep_spawns_its_runs(prsgd: Command) -> None:
    done = prsgd("train", "-m", *SMALL, "interval=1,8")
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stdout


def test_exact_sums_are_bitwise_the_same_again(prsgd: Command, tmp_path: Path) -> None:
    for out in ("once", "again"):
        done = prsgd("train", *SMALL, "reduction=exact", f"out={out}")
        assert done.returncode == 0, done.stderr
    [once], [again] = folders(tmp_path / "once"), folders(tmp_path / "again")
    for name in ("metrics.csv", "rounds.csv"):
        assert table(again, name).equals(table(once, name)), name


def test_a_gpu_trains_as_a_cpu_does(prsgd: Command, tmp_path: Path) -> None:
    """In float32 the first epoch's losses differ by rounding only."""
    for device in ("cpu", "cuda"):
        keys = [key for key in SMALL if not key.startswith("device=")]
        done = prsgd("train", *keys, "precision=fp32", f"device={device}", f"out={device}")
        assert done.returncode == 0, done.stderr
    [ours], [theirs] = folders(tmp_path / "cuda"), folders(tmp_path / "cpu")
    losses = [numbers(folder)["consensus_train_loss"].iloc[:2] for folder in (ours, theirs)]
    assert losses[0].to_list() == pytest.approx(losses[1].to_list(), rel=2e-3)


def test_graphs_train_as_the_loop_does(prsgd: Command, tmp_path: Path) -> None:
    """In float32 the first epoch's losses differ by rounding only."""
    for gradients in ("loop", "graph"):
        more = ("precision=fp32", f"gradients={gradients}", f"out={gradients}")
        done = prsgd("train", *SMALL, *more)
        assert done.returncode == 0, done.stderr
    [loop], [graph] = folders(tmp_path / "loop"), folders(tmp_path / "graph")
    losses = [numbers(folder)["consensus_train_loss"].iloc[:2] for folder in (loop, graph)]
    assert losses[1].to_list() == pytest.approx(losses[0].to_list(), rel=2e-3)


WORLD_OF_ONE = """
import torch, torch.distributed as dist
device = torch.device("cuda", 0)
dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1, device_id=device)
ones = torch.ones(1000, device=device)
work = dist.all_reduce(ones, async_op=True)
while not work.is_completed():
    pass
work.wait()
assert bool((ones == 1).all())
dist.destroy_process_group()
print("NCCL", *torch.cuda.nccl.version())
"""


def test_nccl_in_a_world_of_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORLD_OF_ONE], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.startswith("NCCL"), done.stderr


ON_SEVERAL = [key for key in SMALL if not key.startswith("processes=")]


def several(processes: int) -> Any:
    """So many processes, where there are as many GPUs."""
    there = torch.cuda.device_count()
    lacking = pytest.mark.skipif(there < processes, reason=f"needs {processes} GPUs")
    return pytest.param(processes, marks=lacking)


@pytest.mark.parametrize("processes", [several(2), several(4)])
@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_several_gpus(prsgd: Command, tmp_path: Path, reduction: str, processes: int) -> None:
    more = (f"processes={processes}", f"reduction={reduction}", "compression=int8")
    done = prsgd("train", *ON_SEVERAL, *more)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("processes", [several(2), several(4)])
def test_a_killed_rank_of_several_gpus_is_noticed_in_five_seconds(
    processes: int, tmp_path: Path, cache: Path
) -> None:
    keys = [*(key for key in ON_SEVERAL if key != "epochs=2"), "epochs=2000", "restarts=0"]
    keys.append(f"processes={processes}")
    child = subprocess.Popen(
        [sys.executable, "-m", "prsgd", "train", *keys, "out=killed"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    wait_until(lambda: metrics_text(tmp_path / "killed").count("\n") > 3)
    os.kill(children(child.pid)[-1], signal.SIGKILL)
    since = time.monotonic()
    assert child.wait(timeout=60) == 1
    assert time.monotonic() - since < 5
