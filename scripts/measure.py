"""What the measuring scripts share: a command's output and memory, and a run of prsgd."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

from prsgd.training.machine import cpu_name, physical_cores

OUT = Path(__file__).parent.parent / "results" / "bench"


def hardware() -> str:
    """The line that every table carries."""
    import torch

    return f"{physical_cores()} cores of {cpu_name()}, torch {torch.__version__}"


def write(name: str, frame: pd.DataFrame, text: str) -> None:
    """Keep every measurement as name.csv and what people read as name.md."""
    OUT.mkdir(parents=True, exist_ok=True)
    frame.to_csv(OUT / f"{name}.csv", index=False)
    (OUT / f"{name}.md").write_text(text)
    print(text, flush=True)


def markdown(lines: list[list[str]], words: int) -> str:
    """A table of `lines`, the heading first; the columns after the first `words` are numbers."""
    rule = ["---"] * words + ["---:"] * (len(lines[0]) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rule, *lines[1:]])


class Memory(threading.Thread):
    """The most memory that a process and its descendants have held, shared pages counted once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            self.peak = max(self.peak, sum(map(proportional_mb, descendants(self.pid))))


def descendants(pid: int) -> list[int]:
    """The process and all that it started."""
    try:
        text = "".join(p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [pid, *(d for child in text.split() for d in descendants(int(child)))]


def proportional_mb(pid: int) -> float:
    """Resident memory, each page divided by the processes that share it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(li.split()[1]) / 1000 for li in lines if li.startswith("Pss:")), 0.0)


def run(command: list[str], environment: dict[str, str], folder: str) -> tuple[str, float]:
    """The output of a command and the peak memory of its processes, in MB."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        memory = Memory(process.pid)
        memory.start()
        output, errors = process.communicate()
        memory.over.set()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    return output, memory.peak


def train(workers: int, *overrides: str) -> dict[str, float]:
    """One `prsgd train`, as a user runs it, in a folder of its own."""
    command = [sys.executable, "-m", "prsgd", "train", f"workers={workers}", "batch_size=32"]
    with tempfile.TemporaryDirectory() as folder:
        _, memory = run([*command, "schedule=constant", "lr=0.1", *overrides], {}, folder)
        [path] = (Path(folder) / "runs").iterdir()
        metrics = pd.read_csv(path / "metrics.csv").iloc[-1]
        rounds = pd.read_csv(path / "rounds.csv")["seconds"]
    return {
        "images_per_second": metrics["step"] * 32 * workers / metrics["train_seconds"],
        "round_seconds": rounds.median(),
        "waiting_seconds": metrics["wait_seconds"] / metrics["round"],
        "peak_memory_mb": memory,
    }


def start_up(workers: int, *overrides: str) -> float:
    """Seconds from the command to the end of a run of one step on a few synthetic images."""
    command = [sys.executable, "-m", "prsgd", "train", f"workers={workers}", "batch_size=32"]
    few = ["data=synthetic", f"data.train={32 * workers}", "data.test=1", "epochs=1"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run([*command, *few, *overrides], {}, folder)
        return time.perf_counter() - start
