"""Tokens a second of prsgd on a small GPT, beside bare loops and PostLocalSGDOptimizer.

    python scripts/compare_gpt.py --repeats 10

gpt_nano on the sources of Python's library, b = 16, context 128, AdamW with clipping, I = 8. In
every repeat all contestants run once, in turn, and prsgd is divided by each of the others. All but
prsgd are processes of torchrun's, with prsgd's own batches. Writes results/bench/gpt.{csv,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import hardware, markdown, run, write
from scipy import stats

INTERVAL, BATCH, CONTEXT, WARM = 8, 16, 128, 16  # the interval is peer.py's
CONTESTANTS = {"bare loops": 2, "PostLocalSGDOptimizer": 4}  # processes; bare ones never average
KEYS = ("data=stdlib", "workers=4", f"interval={INTERVAL}", "precision=fp32", "lr=0.001")


def measure_prsgd(steps: int) -> float:
    """As a user runs it, on two processes; the first steps included."""
    tokens = steps * 4 * BATCH * CONTEXT
    with tempfile.TemporaryDirectory() as folder:
        epochs = tokens / training_tokens()
        often = f"evaluate_every={epochs}", "evaluate_samples=2"
        command = [sys.executable, "-m", "prsgd", "train", *KEYS, *often, f"epochs={epochs}"]
        run(command, {}, folder)
        [path] = (Path(folder) / "runs").iterdir()
        last = pd.read_csv(path / "metrics.csv").iloc[-1]
    return last["step"] * 4 * BATCH * CONTEXT / last["train_seconds"]


def training_tokens() -> float:
    """Tokens in an epoch."""
    import prsgd

    composed = prsgd.compose(*KEYS)
    return composed.samples() * composed.task.units()


def measure_peer(name: str, steps: int) -> float:
    """The same of a contestant that torchrun starts."""
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={CONTESTANTS[name]}"]
    command = [sys.executable, *torchrun, __file__, "--peer", name, "--steps", str(steps)]
    output, _ = run(command, {"OMP_NUM_THREADS": "1"}, ".")
    return float(json.loads(output.splitlines()[-1]))


def peer(name: str, steps: int) -> None:
    """One process of a contestant; the first prints tokens a second of all."""
    import torch
    import torch.distributed as dist
    from peer import post_local_sgd
    from torch import nn

    import prsgd
    from prsgd.console import track
    from prsgd.data.cache import load, prepare
    from prsgd.data.digest import cache_folder
    from prsgd.launch.memory import keep_freed_memory

    dist.init_process_group("gloo")
    keep_freed_memory()
    composed = prsgd.compose(*KEYS, f"workers={dist.get_world_size()}")
    cache = prepare(composed.data, cache_folder(), track)
    task = composed.task.bind(composed, *load(cache, torch.device("cpu")))
    torch.manual_seed(0)
    model: Any = composed.build_model()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    local = torch.optim.AdamW(groups, lr=0.001, betas=(0.9, 0.99), fused=True)
    optimiser: Any = local
    if name == "PostLocalSGDOptimizer":
        model, _, optimiser = post_local_sgd(model, local)
    start = 0.0
    for k in range(WARM + steps):
        if k == WARM:
            dist.barrier()
            start = time.perf_counter()
        tokens, following = task.batch([dist.get_rank()], [k])
        optimiser.zero_grad(set_to_none=False)
        task.loss(model, (tokens[0], following[0])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    dist.barrier()
    seconds = time.perf_counter() - start
    if dist.get_rank() == 0:
        print(json.dumps(dist.get_world_size() * steps * BATCH * CONTEXT / seconds))


def table(frame: pd.DataFrame) -> str:
    """Markdown: the median of each, and the mean ratio of prsgd to it with its 95 % interval."""
    lines = [["", "tokens/s (least–greatest)", "prsgd's are times these"]]
    for name in frame.columns:
        speeds, ratios = frame[name], frame["prsgd"] / frame[name]
        spread = f"{speeds.median():,.0f} ({speeds.min():,.0f}–{speeds.max():,.0f})"
        half = stats.t.ppf(0.975, len(ratios) - 1) * ratios.std() / np.sqrt(len(ratios))
        ratio = "" if name == "prsgd" else f"{ratios.mean():.3f} ± {half:.3f}"
        lines.append([name, spread, ratio])
    return markdown(lines, 1)


def main(options: argparse.Namespace) -> None:
    found = []
    for repeat in range(1, options.repeats + 1):
        row = {"prsgd": measure_prsgd(options.steps)}
        row |= {name: measure_peer(name, 4 * options.steps // n) for name, n in CONTESTANTS.items()}
        found.append(row)
        print(f"{repeat}/{options.repeats}", row, flush=True)
    frame = pd.DataFrame(found)
    text = (
        f"gpt_nano, b = {BATCH}, context {CONTEXT}, I = {INTERVAL}, N = 4, fp32, AdamW, on "
        f"{hardware()}; {options.repeats} alternating repeats. The bare loops are two processes "
        f"that never average; prsgd hosts its four workers in two, PostLocalSGDOptimizer has four."
        f"\n\n{table(frame)}"
    )
    write("gpt", frame, text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--steps", type=int, default=80, help="of each of prsgd's four workers")
    parser.add_argument("--peer", choices=CONTESTANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if "RANK" in os.environ:
        peer(chosen.peer, chosen.steps)
    else:
        main(chosen)
