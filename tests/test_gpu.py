"""What only a GPU can show; what is decided about GPUs is tested without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Command, numbers

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
