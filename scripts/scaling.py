"""What the runner costs: by the number of workers, by the interval, by the part of a step.

    python scripts/scaling.py        # about half an hour on two cores, which nothing else may use

ResNet-20, batch 32, synthetic images. Repeats alternate between all settings; quoted are medians
and, for images/s, the least and greatest. Writes results/bench/{scaling,parts}.{csv,md}.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from measure import descendants, hardware, markdown, run, start_up, train, write

from prsgd.config.build import build_run
from prsgd.console import track
from prsgd.data.cache import load, prepare
from prsgd.data.digest import cache_folder
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.rounds import close_rounds
from prsgd.launch.memory import keep_freed_memory
from prsgd.models import ResNet
from prsgd.training import checkpoint_files
from prsgd.training.workers import RowWorkers

UNFINISHED = Path("runs/scaling.csv")  # what is measured so far: an interrupted script goes on
IMAGES = 32_768  # per run
DATA = ["data=synthetic", f"data.train={IMAGES}", "data.test=500", "epochs=1"]
DATA += ["precision=bf16", "processes=2"]
WORKERS, INTERVALS = (2, 8, 32, 128), (1, 2, 4, 8, 32, 128)
HOSTED = 4  # rows in `parts`
PARAMETERS = 269_722  # of ResNet-20


def settings() -> list[tuple[int, int]]:
    """(N, I): every N at I = 8, every I at N = 8."""
    return [*((n, 8) for n in WORKERS), *((8, i) for i in INTERVALS if i != 8)]


def scaling(repeats: int) -> None:
    found = pd.read_csv(UNFINISHED).to_dict("records") if UNFINISHED.exists() else []
    done = {(row["repeat"], row["workers"], row["interval"]) for row in found}
    for repeat in range(1, repeats + 1):
        for workers, interval in settings():
            if (repeat, workers, interval) in done:
                continue
            result = train(workers, *DATA, f"interval={interval}")
            found.append({"repeat": repeat, "workers": workers, "interval": interval, **result})
            print(found[-1], flush=True)
            UNFINISHED.parent.mkdir(exist_ok=True)
            pd.DataFrame(found).to_csv(UNFINISHED, index=False)
    frame = pd.DataFrame(found)
    heads = ["N", "I", "images/s", "of N = 2", "round (ms)", "waiting (ms)", "memory (MB)"]
    lines = [heads]
    groups = dict(iter(frame.groupby(["workers", "interval"], sort=False)))
    base = groups[2, 8]["images_per_second"].median()
    for (workers, interval), rows in groups.items():
        speed, m = rows["images_per_second"], rows.median(numeric_only=True)
        lines.append(
            [
                str(workers),
                str(interval),
                f"{speed.median():.0f} ({speed.min():.0f}–{speed.max():.0f})",
                f"{speed.median() / base:.2f}",
                f"{1000 * m['round_seconds']:.1f}",
                f"{1000 * m['waiting_seconds']:.1f}",
                f"{m['peak_memory_mb']:.0f}",
            ]
        )
    few, many = groups[8, 8]["peak_memory_mb"].median(), groups[128, 8]["peak_memory_mb"].median()
    text = (
        f"ResNet-20, batch 32, bf16, synthetic images, two processes, {IMAGES:,} images a run, on "
        f"{hardware()}; median (least–greatest) of {repeats} alternating repeats.\n\n"
        f"{markdown(lines, 0)}\n"
        f"Memory per further worker, from N = 8 to N = 128: {(many - few) / 120:.2f} MB.\n"
    )
    write("scaling", frame, text)
    UNFINISHED.unlink()


def median_ms(action: Callable[[], object], count: int) -> float:
    action()
    laps = []
    for _ in range(count):
        start = time.perf_counter()
        action()
        laps.append(time.perf_counter() - start)
    return 1000 * sorted(laps)[count // 2]


def parts(repeats: int) -> None:
    """Milliseconds of each part, in this process with one thread, and of a start."""
    keep_freed_memory()
    torch.set_num_threads(1)
    raw = {
        "workers": HOSTED,
        "algorithm": {"name": "prsgd"},
        "model": {"name": "resnet"},
        "schedule": {"name": "constant"},
        "data": {"name": "synthetic", "train": IMAGES, "test": 500},
    }
    config = build_run(raw)
    cached = load(prepare(config.data, cache_folder(), track), torch.device("cpu"))
    task = config.task.bind(config, *cached)
    model = ResNet(20).build(32, 10)
    communicator = Communicator(HOSTED, "cpu", "fast")
    workers = RowWorkers(model, communicator, task, config, bf16=True)
    exact = RowWorkers(model, Communicator(HOSTED, "cpu", "exact"), task, config, bf16=True)
    draws = iter(range(10**9))

    def average() -> None:
        workers.average("keep")

    def average_exactly() -> None:
        exact.average("keep")

    def drift() -> None:
        workers.squared_distances(workers.x, workers.x[0])

    def save() -> None:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint_files.save(Path(folder), 1, workers.state_tensors(), {}, communicator)

    def close() -> float:
        """Milliseconds per open round."""
        rounds, start = len(workers.ledger.open), time.perf_counter()
        close_rounds(workers.ledger, communicator)
        return 1000 * (time.perf_counter() - start) / rounds

    def look() -> None:
        with workers.autocast():
            task.evaluate(consensus, chunk)

    chunk = task.chunks("train")[0]
    consensus, _ = workers.consensus(None)
    found = []
    for repeat in range(1, repeats + 1):
        step = median_ms(workers.compute_gradients, 12)
        result = {
            "step of 4 workers: gradients": step,
            "batches (index, crop, flip, normalise)": HOSTED
            * median_ms(lambda: task.batch([0], [next(draws)]), 100),
            "update": median_ms(lambda: workers.optimizer_step(1e-9), 100),
            "average, with its drift": median_ms(average, 50),
            "the same, summed exactly": median_ms(average_exactly, 20),
            "the drift alone": median_ms(drift, 50),
            "ledger": close(),
            "a checkpoint, at most every 30 s": median_ms(save, 10),
            "import torch": 1000 * seconds("-c", "import torch"),
            "prsgd train, to the end of one step, N = 8": 1000 * start_up(8),
            "bare gloo all-reduce": bare_all_reduce(),
            "a round of two processes": between_two("fast"),
            "the same with exact sums": between_two("exact"),
            "from a process's death in mid-round to training again": recovery(),
        }
        with torch.inference_mode():
            result["evaluation of 10,000 images"] = 40 * median_ms(look, 10)
        found += [{"repeat": repeat, "part": k, "ms": v} for k, v in result.items()]
        print(result, flush=True)
    write_parts(pd.DataFrame(found))


def write_parts(frame: pd.DataFrame) -> None:
    """The table of medians."""
    medians = frame.groupby("part", sort=False)["ms"].median()
    step = medians.iloc[0]
    lines = [["", "ms", "of the step"]]
    for name, value in medians.items():
        in_step = name in medians.index[1:7]
        share = f"{value / step:.2%}" if in_step else ""
        lines.append([str(name), f"{value:.3g}" if value < 100 else f"{value:.0f}", share])
    text = (
        f"ResNet-20, batch 32, bf16, one process with one thread and {HOSTED} workers, on "
        f"{hardware()}; medians of {frame['repeat'].max()} repeats.\n\n{markdown(lines, 1)}"
    )
    write("parts", frame, text)


def seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - start


def bare_all_reduce() -> float:
    """Milliseconds of gloo's all-reduce of a ResNet-20 between two processes, work in between."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", __file__]
    output, _ = run(torchrun, {"OMP_NUM_THREADS": "1"}, ".")
    return float(output.split()[-1])


def between_two(reduction: str) -> float:
    """Milliseconds of an averaging's all-reduces while N = 8 train."""
    return 1000 * train(8, *DATA, f"reduction={reduction}")["round_seconds"]


def recovery() -> float:
    """Milliseconds from a process's death, between two averagings, until all train again, N = 8."""
    command = [sys.executable, "-m", "prsgd", "train", "workers=8", "batch_size=32", *DATA]
    command += ["data.train=2048", "epochs=100", "checkpoint_seconds=1"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as agent,
    ):
        next(line for line in agent.stdout if line.startswith("epoch 2/"))
        time.sleep(1)  # a round of 8 steps takes 2 s
        os.kill(descendants(agent.pid)[-1], signal.SIGKILL)
        death = time.perf_counter()
        next(line for line in agent.stdout if "resuming at step" in line)
        lap = time.perf_counter() - death
        next(line for line in agent.stdout if line.startswith("epoch"))
        agent.terminate()
        agent.stdout.read()
        return 1000 * lap


def one_rank() -> None:
    """As `Communicator.mean` does it: one buffer, and the duration at the last to arrive."""
    dist.init_process_group("gloo")
    buffer, work = torch.ones(PARAMETERS + 2), torch.randn(1024, 1024)
    laps = torch.empty(60, dtype=torch.float64)
    for lap in range(len(laps)):
        for _ in range(5):
            work @ work
        start = time.perf_counter()
        dist.all_reduce(buffer)
        laps[lap] = time.perf_counter() - start
    dist.all_reduce(laps, dist.ReduceOp.MIN)
    if dist.get_rank() == 0:
        print(1000 * float(laps.median()))
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    parts(repeats)
    scaling(repeats)


if __name__ == "__main__":
    one_rank() if "RANK" in os.environ else main()
