"""What is seen of a run is not the run: a console may close, fill up or know no Unicode."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from prsgd.run_folder import RunFolder

RUN = [
    *("data=synthetic", "data.train=64", "data.size=8", "model=mlp", "device=cpu", "workers=2"),
    *("interval=2", "batch_size=4", "epochs=4", "threads=1"),
]
WAYS = {
    "a reader that leaves": "| head -n 1",
    "a full disk": "> /dev/full",
    "no stdout": ">&-",
    "no stdout and no stderr": ">&- 2>&-",
    "nothing open": "<&- >&- 2>&-",
    "a full disk for both": "> /dev/full 2>&1",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_training_goes_on_without_its_console(tmp_path: Path, way: str, processes: int) -> None:
    command = [sys.executable, "-m", "prsgd", "train", *RUN, f"processes={processes}"]
    quoted = shlex.join(command)
    line = f"{quoted} {WAYS[way]}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, timeout=100, capture_output=True)
    [folder] = (tmp_path / "runs").iterdir()
    assert RunFolder(folder).status() == ("done", "")
    assert done.returncode == 0
    assert done.stderr == b""
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,epoch")
    assert len(rows) == 5


def test_a_console_without_unicode_gets_escapes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "prsgd", "train", *RUN, "data.label='日本'", "--dry-run"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "\\u65e5\\u672c" in done.stdout


@pytest.mark.parametrize("name", ["RANK", "LOCAL_WORLD_SIZE"])
def test_half_a_torchrun_is_no_torchrun(tmp_path: Path, name: str) -> None:
    whole = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment = {**os.environ, **whole, name: "", "TORCHELASTIC_RUN_ID": "x"}
    command = [sys.executable, "-m", "prsgd", "train", *RUN]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"prsgd: TORCHELASTIC_RUN_ID is set, as torchrun does, but {name} is no number; unset the "
        "one, or start by torchrun\n",
    )
