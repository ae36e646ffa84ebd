"""Images and tokens a second on one device: workers as rows beside one model with all their data.

    python scripts/gpu_speed.py                 # on a GPU, two minutes
    python scripts/gpu_speed.py --device cpu --seconds 1 --only resnet8

One model at batch N b does the same arithmetic as N workers at batch b, and is the most that they
can reach, by a loop over the rows or by a CUDA graph for each. The same model is wrapped in torch's
DistributedDataParallel and PostLocalSGDOptimizer, in a world of one process. In every repeat each
runs once, in turn; quoted are medians. The batch is made up, and the same in every step. Writes
results/gpu/speed.{csv,md}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from measure import markdown
from peer import post_local_sgd
from torch import nn

import prsgd
from prsgd.config.plan import Plan
from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.training.calibrate import Repeated
from prsgd.training.device import device_settings
from prsgd.training.setup import build_workers

OUT = Path(__file__).parent.parent / "results" / "gpu"
INTERVAL, REPEATS, WARM = 8, 3, 16
COLUMNS = {
    "loop": "loop",
    "graph": "graph",
    "single": "one model",
    "ddp": "… in DDP",
    "post_local": "… in PostLocalSGD",
}
SETTINGS = {
    "resnet8": [
        ("model=resnet8", "data=synthetic", "batch_size=32", f"workers={n}") for n in (1, 8)
    ],
    "resnet20": [
        ("model=resnet20", "data=synthetic", "batch_size=32", f"workers={n}") for n in (1, 8, 32)
    ],
    "gpt_small": [
        ("model=gpt_small", "data=stdlib", "batch_size=8", f"workers={n}", "optimiser=adamw")
        for n in (1, 4)
    ],
}


def rows(run: Run, communicator: Communicator) -> Callable[[int], None]:
    """A step of all workers, by a loop or by graphs, and an averaging every I steps."""
    workers = build_workers(run, Repeated(run, communicator.device), communicator, bf16=True)

    def step(t: int) -> None:
        workers.compute_gradients()
        run.algorithm.step(t, 1e-3, workers)
        workers.ledger.open.clear()

    return step


def single(run: Run, communicator: Communicator, within: str = "") -> Callable[[int], None]:
    """A step of one model on the batches of all workers, as torch's tutorials have it.

    `within` is `ddp` or `post_local`, where one of torch's is around it.
    """
    device = communicator.device
    model: nn.Module = run.build_model().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = run.task.example(run.data, run.workers * run.batch_size, device)
    optimiser: torch.optim.Optimizer = (
        torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
        if run.optimiser == "adamw"
        else torch.optim.SGD(model.parameters(), 1e-3)
    )
    if within == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    if within == "post_local":
        model, _, optimiser = post_local_sgd(model, optimiser)

    def step(t: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            loss = run.task.loss(model, batch)
        loss.backward()
        optimiser.step()

    return step


def steps_a_second(
    step: Callable[[int], None], communicator: Communicator, seconds: float
) -> float:
    for t in range(1, WARM + 1):
        step(t)
    start, count = communicator.clock(), 0
    while communicator.clock() - start < seconds:
        for t in range(1, INTERVAL + 1):
            step(t)
        count += INTERVAL
    return count / (communicator.clock() - start)


def measure(keys: tuple[str, ...], device: str, seconds: float) -> list[dict[str, object]]:
    run = prsgd.compose(*keys, f"interval={INTERVAL}", f"device={device}")
    communicator = Communicator(run.workers, device, "fast")
    found = []
    with device_settings(Plan(device, 1, 1, "bf16", "in_process", 1), "fast"):
        contestants = {
            "loop": rows(replace(run, gradients="loop"), communicator),
            "graph": rows(replace(run, gradients="graph"), communicator),
            "single": single(run, communicator),
            "ddp": single(run, communicator, "ddp"),
            "post_local": single(run, communicator, "post_local"),
        }
        units = run.workers * run.batch_size * run.task.units()
        for repeat in range(1, REPEATS + 1):
            speeds = {
                name: units * steps_a_second(step, communicator, seconds)
                for name, step in contestants.items()
            }
            setting = {"model": keys[0].partition("=")[2], "workers": run.workers}
            found.append(
                {**setting, "repeat": repeat, "unit": run.task.measures(run.data).unit, **speeds}
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--only", nargs="*", default=["resnet20", "gpt_small"], choices=SETTINGS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    found = []
    backend = "nccl" if options.device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    for name in options.only:
        for keys in SETTINGS[name]:
            found += measure(keys, options.device, options.seconds)
    dist.destroy_process_group()
    frame = pd.DataFrame(found).assign(
        ratio=lambda own: own[["loop", "graph"]].max(axis=1) / own["single"]
    )
    heads = ["model", "N", *COLUMNS.values(), "better / one model"]
    lines = [heads]
    for (model, workers, unit), own in frame.groupby(["model", "workers", "unit"], sort=False):
        middle = own[[*COLUMNS, "ratio"]].median()
        speeds = [f"{middle[name]:,.0f} {unit}/s" for name in COLUMNS]
        lines.append([str(model), str(workers), *speeds, f"{middle['ratio']:.2f}"])
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    when = time.strftime("%Y-%m-%d")
    text = (
        f"On one {device}, torch {torch.__version__}, bf16, {when}; medians of {REPEATS} repeats.\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "speed.csv", index=False, float_format="%.6g")
    (options.out / "speed.md").write_text(f"{text}\n{markdown(lines, 1)}")
    print(text, markdown(lines, 1), sep="\n")


if __name__ == "__main__":
    main()
