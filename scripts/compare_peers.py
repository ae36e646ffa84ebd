"""prsgd beside what a user would pick instead, in one table from one run on one machine.

    make bench                                     # synthetic images
    make bench DATA="data=image_folder data.root=~/pictures"

ResNet-20, batch 32, I = 8, N = 2 and 8 workers. In every repeat all contestants run once, in turn;
quoted are the median, the least and the greatest. Writes results/bench/peers.{csv,md}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from measure import hardware, markdown, run, start_up, train, write

from prsgd.console import track
from prsgd.data.cache import prepare
from prsgd.data.digest import cache_folder
from prsgd.training.machine import physical_cores

HERE = Path(__file__).parent
UNFINISHED = Path("runs/bench-peers.csv")  # what is measured so far: an interrupted bench goes on
BATCH, INTERVAL = 32, 8
WHO = ("name", "data", "precision", "workers")
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


def measure_peer(who: Contestant, rounds: int, cache: Path) -> dict[str, float]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={who.workers}"]
    name = "bare" if who.name == "bare loop" else who.name
    peer = [str(HERE / "peer.py"), name, who.data, who.precision, str(rounds), str(cache)]
    command = [*torchrun, *peer, str(time.time())]
    output, memory = run(command, {"OMP_NUM_THREADS": "1"}, ".")
    return {**json.loads(output.splitlines()[-1]), "peak_memory_mb": memory}


def measure_prsgd(who: Contestant, rounds: int, data: list[str], samples: int) -> dict[str, float]:
    """As a user runs it, its first step included; so three times the rounds of the others."""
    precision = f"precision={who.precision}"
    steps = (1 + 3 * rounds) * INTERVAL
    epochs = steps / (samples // (BATCH * who.workers))
    result = train(who.workers, *data, precision, f"interval={INTERVAL}", f"epochs={epochs}")
    return {**result, "first_step_seconds": start_up(who.workers, precision)}


def table(frame: pd.DataFrame) -> str:
    """Markdown, a line per contestant, with the median of each measure."""
    heads = ["", "data", "precision", "N", "images/s", "round (ms)", "waiting (ms)"]
    lines = [[*heads, "start to first step (s)", "peak memory (MB)"]]
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
    return markdown(lines, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("data", nargs="*", default=["data=synthetic", "data.train=50000"])
    options = parser.parse_args()
    from prsgd.config.compose import compose

    [chosen], _ = compose(options.data)
    cache = prepare(chosen.data, cache_folder(), track).resolve()
    samples = chosen.data.train_samples()
    found = pd.read_csv(UNFINISHED).to_dict("records") if UNFINISHED.exists() else []
    done = {(row["repeat"], *(row[name] for name in WHO)) for row in found}
    for repeat in range(1, options.repeats + 1):
        for who in contestants():
            if (repeat, *vars(who).values()) in done:
                continue
            rounds = 16 // who.workers + 1
            if who.name == "prsgd":
                result = measure_prsgd(who, rounds, options.data, samples)
            else:
                result = measure_peer(who, rounds, cache)
            found.append({"repeat": repeat, **vars(who), **result})
            UNFINISHED.parent.mkdir(exist_ok=True)
            pd.DataFrame(found).to_csv(UNFINISHED, index=False)
            speed = f"{result['images_per_second']:.0f} img/s"
            print(f"{repeat}/{options.repeats}", who, speed, flush=True)
    frame = pd.DataFrame(found)
    text = (
        f"ResNet-20, batch {BATCH}, I = {INTERVAL}, {chosen.data.name()}, on {hardware()}; median "
        f"(least–greatest) of {options.repeats} alternating repeats.\n\n{table(frame)}"
    )
    write("peers", frame, text)
    UNFINISHED.unlink()


if __name__ == "__main__":
    main()
