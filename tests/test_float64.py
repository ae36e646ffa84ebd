"""Training in float64 beside plain loops of torch's own optimisers, which know nothing of rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import bound, drawn, part
from torch import nn
from torch.nn import functional as F

from prsgd.config.build import build_run
from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.rounds import close_rounds
from prsgd.tasks.base import Bound
from prsgd.training.module import build_module
from prsgd.training.workers import RowWorkers

N, INTERVAL, STEPS = 4, 3, 13  # four rounds, and one that the end cuts short
LR, WARMUP, FLOOR, DECAY, CLIP = 0.01, 0.2, 0.1, 0.1, 1.0
OUTER_LR, OUTER_MOMENTUM = 0.7, 0.9
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(300))
SMALL = {"depth": 2, "width": 16, "heads": 2}
Loop = Callable[[nn.Module, Bound], list[nn.Module]]


def gpt_run(root: Path, algorithm: dict[str, Any], context: int = 16, **model: int) -> Run:
    """A run of a GPT with everything that the recipe of language models has."""
    return build_run(
        {
            **{"workers": N, "batch_size": 4, "lr": LR, "precision": "fp32", "threads": 1},
            **{"optimiser": "adamw", "weight_decay": DECAY, "decayed": "matrices", "clip": CLIP},
            "algorithm": algorithm,
            "model": {"name": "gpt", **(model or SMALL)},
            "schedule": {"name": "cosine", "warmup": WARMUP, "floor": FLOOR},
            "task": {"name": "language_modeling", "context": context},
            "data": {"name": "text", "root": str(root)},
        }
    )


def rows_in_float64(run: Run, task: Bound, reduction: str) -> RowWorkers:
    model = build_module(run, bf16=False).module.double()
    return RowWorkers(model, Communicator(N, "cpu", reduction), task, run, bf16=False)


def train_rows(run: Run, workers: RowWorkers) -> None:
    """The steps of the training loop."""
    algorithm, info = run.algorithm, run.info(run.samples())
    algorithm.begin(info, workers)
    for t in range(1, STEPS + 1):
        workers.compute_gradients(algorithm.active(t, info))
        algorithm.step(t, run.schedule.lr(t, STEPS, run.lr), workers)
    algorithm.finish(STEPS, run.schedule.lr(STEPS, STEPS, run.lr), workers)


# The plain loops: a module and an optimiser for each worker ----------------------------------


def rate(t: int) -> float:
    cosine = (1 + math.cos(math.pi * (t - 1) / STEPS)) / 2
    return LR * min(1, t / (WARMUP * STEPS)) * (FLOOR + (1 - FLOOR) * cosine)


def adamw(model: nn.Module) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def gradient(model: nn.Module, task: Bound, worker: int, t: int) -> None:
    """Worker i's gradient in step t, clipped."""
    tokens, following = drawn(task, worker, t - 1)
    model.zero_grad()
    F.cross_entropy(model(tokens).flatten(0, 1), following.flatten()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)


def step(optimiser: torch.optim.Optimizer, t: int) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate(t)
    optimiser.step()


def is_round(t: int) -> bool:
    return t % INTERVAL == 0 or t == STEPS


def averaged(models: list[nn.Module]) -> list[torch.Tensor]:
    parameters = zip(*(model.parameters() for model in models), strict=True)
    return [torch.stack([p.detach() for p in own]).mean(0) for own in parameters]


@torch.no_grad()
def restart(models: list[nn.Module], point: list[torch.Tensor]) -> None:
    for model in models:
        for own, value in zip(model.parameters(), point, strict=True):
            own.copy_(value)


def diloco(start: nn.Module, task: Bound) -> list[nn.Module]:
    models = [copy.deepcopy(start) for _ in range(N)]
    inner = [adamw(model) for model in models]
    outer = torch.optim.SGD(start.parameters(), OUTER_LR, OUTER_MOMENTUM, nesterov=True)
    for t in range(1, STEPS + 1):
        for worker, (model, optimiser) in enumerate(zip(models, inner, strict=True)):
            gradient(model, task, worker, t)
            step(optimiser, t)
        if is_round(t):
            for own, mean in zip(start.parameters(), averaged(models), strict=True):
                own.grad = own.detach() - mean
            outer.step()
            restart(models, [p.detach() for p in start.parameters()])
    return models


def minibatch(start: nn.Module, task: Bound) -> list[nn.Module]:
    optimiser = adamw(start)
    for t in range(1, STEPS + 1):
        sums = [torch.zeros_like(p) for p in start.parameters()]
        for worker in range(N):
            gradient(start, task, worker, t)
            for own, total in zip(start.parameters(), sums, strict=True):
                total += own.grad
        for own, total in zip(start.parameters(), sums, strict=True):
            own.grad = total / N
        step(optimiser, t)
    return [start] * N


def prsgd(start: nn.Module, task: Bound, average_moments: bool) -> list[nn.Module]:
    models = [copy.deepcopy(start) for _ in range(N)]
    optimisers = [adamw(model) for model in models]
    for t in range(1, STEPS + 1):
        for worker, (model, optimiser) in enumerate(zip(models, optimisers, strict=True)):
            gradient(model, task, worker, t)
            step(optimiser, t)
        if is_round(t):
            restart(models, averaged(models))
            if average_moments:
                states = [[*optimiser.state.values()] for optimiser in optimisers]
                for of_one in zip(*states, strict=True):
                    for name in ("exp_avg", "exp_avg_sq"):
                        mean = torch.stack([state[name] for state in of_one]).mean(0)
                        for state in of_one:
                            state[name].copy_(mean)
    return models


METHODS: dict[str, tuple[dict[str, Any], Loop, int]] = {  # algorithm, loop, vectors in a round
    "DiLoCo": (part("diloco", interval=INTERVAL), diloco, 1),
    "mini-batch AdamW": (part("minibatch"), minibatch, 1),
    "PR-SGD, moments averaged": (
        part("prsgd", interval=INTERVAL),
        lambda start, task: prsgd(start, task, average_moments=True),
        3,
    ),
    "PR-SGD, moments kept": (
        part("prsgd", interval=INTERVAL, momentum_at_sync="keep"),
        lambda start, task: prsgd(start, task, average_moments=False),
        1,
    ),
}


def difference(run: Run, task: Bound, workers: RowWorkers, loop: Loop) -> float:
    """The largest |ours - theirs| / |theirs| of all workers' tensors after the last step."""
    start = copy.deepcopy(workers.models[0])
    for own in start.parameters():
        own.data, own.grad = own.data.clone(), None
    train_rows(run, workers)
    found = 0.0
    for ours, theirs in zip(workers.models, loop(start, task), strict=True):
        for own, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
            found = max(found, ((own - plain).norm() / plain.norm()).item())
    return found


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tables.txt"
    path.write_text(TEXT)
    return path


# the integers of `exact` round second moments that are small beside the largest one
@pytest.mark.parametrize(("reduction", "limit"), [("fast", 1e-12), ("exact", 1e-10)])
@pytest.mark.parametrize("method", METHODS)
def test_a_gpt_beside_a_plain_loop(
    text: Path, cache: Path, method: str, reduction: str, limit: float
) -> None:
    algorithm, loop, vectors = METHODS[method]
    run = gpt_run(text, algorithm)
    task = bound(run, cache)
    workers = rows_in_float64(run, task, reduction)
    assert difference(run, task, workers, loop) < limit
    assert workers.norm_sums.max() > STEPS * CLIP**2  # some gradients were cut
    rows = close_rounds(workers.ledger, workers.communicator)
    rounds = STEPS if method == "mini-batch AdamW" else STEPS // INTERVAL + 1
    assert [row["payload_bytes"] for row in rows] == [8 * vectors * workers.x.shape[1]] * rounds
