"""prsgd beside what a user would pick instead, in one table from one run on one machine.

    make bench                                     # synthetic images
    make bench DATA="data=image_folder data.root=~/pictures"

ResNet-20, batch 32, I = 8, N = 2 and 8 workers. In every repeat all contestants run once, in turn;
quoted are the median and, in the csv, the least and greatest. Writes results/bench/peers.{csv,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from prsgd.console import track
from prsgd.data.cache import prepare
from prsgd.launch import cache_folder
from prsgd.plan import cpu_name, physical_cores

HERE = Path(__file__).parent
OUT = HERE.parent / "results" / "bench"
BATCH, INTERVAL = 32, 8
MEASURES = (
    "images_per_second",
    "round_seconds",
    "waiting_seconds",
    "first_step_seconds",
    "peak_memory_mb",
)


@dataclass(frozen=True)
class Contestant:
    """Who, fed how, in which precision, with how many workers."""

    name: str
    data: str
    precision: str
    workers: int


def contestants() -> list[Contestant]:
    """In the order of the table."""
    found = []
    for precision in ("fp32", "bf16"):
        found.append(Contestant("bare loop", "tensors", precision, physical_cores()))
        for workers in (2, 8):
            found.append(Contestant("prsgd", "tensors", precision, workers))
            for name in ("post_local", "accelerate"):
                for data in ("tensors", "documented"):
                    found.append(Contestant(name, data, precision, workers))
            found.append(Contestant("ddp", "tensors", precision, workers))
    return found


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


def measure_peer(who: Contestant, rounds: int, cache: Path) -> dict[str, float]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={who.workers}"]
    name = "bare" if who.name == "bare loop" else who.name
    peer = [str(HERE / "peer.py"), name, who.data, who.precision, str(rounds), str(cache)]
    command = [*torchrun, *peer, str(time.time())]
    output, memory = run(command, {"OMP_NUM_THREADS": "1"}, ".")
    return {**json.loads(output.splitlines()[-1]), "peak_memory_mb": memory}


def measure_prsgd(who: Contestant, rounds: int, data: list[str], samples: int) -> dict[str, float]:
    """As a user runs it; the start is timed by a run of one step on a few images."""
    common = [sys.executable, "-m", "prsgd", "train", f"workers={who.workers}"]
    common += [f"precision={who.precision}", f"batch_size={BATCH}", "schedule=constant", "lr=0.1"]
    with tempfile.TemporaryDirectory() as folder:
        few = ["data=synthetic", f"data.train={BATCH * who.workers}", "data.test=1", "epochs=1"]
        start = time.perf_counter()
        run([*common, *few, "out=start"], {}, folder)
        first = time.perf_counter() - start
        steps = (1 + rounds) * INTERVAL
        epochs = steps / (samples // (BATCH * who.workers))
        _, memory = run([*common, *data, f"interval={INTERVAL}", f"epochs={epochs}"], {}, folder)
        [path] = (Path(folder) / "runs").iterdir()
        metrics = pd.read_csv(path / "metrics.csv").iloc[-1]
        seconds = pd.read_csv(path / "rounds.csv")["seconds"]
        [manifest] = path.glob("checkpoint/*/manifest.json")
        ledger = json.loads(manifest.read_text())["counters"]["ledger"]
    return {
        "images_per_second": metrics["step"] * BATCH * who.workers / metrics["train_seconds"],
        "round_seconds": seconds.median(),
        "waiting_seconds": ledger["wait_seconds"] / ledger["rounds"],
        "first_step_seconds": first,
        "peak_memory_mb": memory,
    }


def table(frame: pd.DataFrame) -> str:
    """Markdown, a line per contestant, with the median of each measure."""
    heads = ["", "data", "precision", "N", "images/s", "round (ms)", "waiting (ms)"]
    heads += ["start to first step (s)", "peak memory (MB)"]
    lines = [heads, ["---"] * 3 + ["---:"] * 6]
    for key, rows in frame.groupby(["name", "data", "precision", "workers"], sort=False):
        m = {name: rows[name].median() for name in MEASURES}
        spread = f"{rows['images_per_second'].min():.0f}–{rows['images_per_second'].max():.0f}"
        lines.append(
            [
                *map(str, key),
                f"{m['images_per_second']:.0f} ({spread})",
                *("" if pd.isna(m[n]) else f"{1000 * m[n]:.1f}" for n in MEASURES[1:3]),
                f"{m['first_step_seconds']:.1f}",
                f"{m['peak_memory_mb']:.0f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("data", nargs="*", default=["data=synthetic", "data.train=50000"])
    options = parser.parse_args()
    from prsgd.cli import compose

    [chosen] = compose(options.data, dry_run=False)
    cache = prepare(chosen.data, cache_folder(), track).resolve()
    samples = chosen.data.train_samples()
    found = []
    for repeat in range(1, options.repeats + 1):
        for who in contestants():
            rounds = 16 // who.workers + 1
            if who.name == "prsgd":
                result = measure_prsgd(who, rounds, options.data, samples)
            else:
                result = measure_peer(who, rounds, cache)
            found.append({"repeat": repeat, **vars(who), **result})
            speed = f"{result['images_per_second']:.0f} img/s"
            print(f"{repeat}/{options.repeats}", who, speed, flush=True)
        frame = pd.DataFrame(found)
        text = (
            f"ResNet-20, batch {BATCH}, I = {INTERVAL}, {chosen.data.name()}, on "
            f"{physical_cores()} cores of {cpu_name()}, torch {torch.__version__}; median "
            f"(least–greatest) of {repeat} alternating repeats.\n\n" + table(frame)
        )
        OUT.mkdir(parents=True, exist_ok=True)
        frame.to_csv(OUT / "peers.csv", index=False)
        (OUT / "peers.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
