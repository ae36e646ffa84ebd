"""One worker is plain SGD: the engine against torch's own optimiser and modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import bound, drawn, part, small_run
from torch import nn
from torch.nn import functional as F

from prsgd.algorithms.restarted import PRSGD
from prsgd.distributed.communicator import Communicator
from prsgd.training.setup import build_workers
from prsgd.training.views import parameters


@pytest.mark.parametrize("model", [part("mlp", width=8), part("resnet", depth=8)])
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"), [(0.0, False, 0.0), (0.9, False, 1e-3), (0.9, True, 1e-3)]
)
def test_equals_torch_sgd(
    cache: Path, model: dict, momentum: float, nesterov: bool, decay: float
) -> None:
    keys = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    compare(cache, {"lr": 0.02, "model": model, **keys}, torch.optim.SGD, keys)


@pytest.mark.parametrize("model", [part("mlp", width=8), part("resnet", depth=8)])
@pytest.mark.parametrize("keys", [{"weight_decay": 0.0}, {"weight_decay": 0.1, "eps": 1e-4}])
def test_equals_torch_adamw(cache: Path, model: dict, keys: dict) -> None:
    betas = {"betas": [0.8, 0.99]}
    ours = {"optimiser": "adamw", "lr": 1e-3, "model": model, **betas, **keys}
    compare(cache, ours, torch.optim.AdamW, {**betas, **keys})


def compare(cache: Path, keys: dict, optimiser_class: type, options: dict) -> None:
    """12 steps of one worker beside torch's optimiser, to 1e-6."""
    run = small_run(workers=1, algorithm=part("prsgd", interval=3), **keys)
    task = bound(run, cache)
    workers = build_workers(run, task, Communicator(1, "cpu", "fast"), bf16=False)
    plain = build_workers(run, task, Communicator(1, "cpu", "fast"), bf16=False).models[0]
    for owner, name, parameter in list(parameters(plain)):  # its own memory, torch's own layout
        owner._parameters[name] = nn.Parameter(
            parameter.detach().clone(memory_format=torch.preserve_format)
        )
    optimiser = optimiser_class(plain.parameters(), run.lr, **options)
    algorithm = PRSGD(interval=3)
    for t in range(1, 13):
        x, y = drawn(task, 0, t - 1)
        optimiser.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimiser.step()
        workers.compute_gradients()
        algorithm.step(t, run.lr, workers)
        for ours, theirs in zip(workers.models[0].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    for ours, theirs in zip(workers.models[0].buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
