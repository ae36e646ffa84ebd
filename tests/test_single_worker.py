"""One worker is plain SGD: the engine against torch's own optimiser and modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import part, small_run
from torch import nn
from torch.nn import functional as F

from prsgd.algorithms.restarted import PRSGD
from prsgd.cluster import Cluster
from prsgd.data.cache import load, prepare
from prsgd.train import build_workers
from prsgd.workers import parameters


@pytest.mark.parametrize("model", [part("mlp", width=8), part("resnet", depth=8)])
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"), [(0.0, False, 0.0), (0.9, False, 1e-3), (0.9, True, 1e-3)]
)
def test_equals_torch_sgd(
    cache: Path, model: dict, momentum: float, nesterov: bool, decay: float
) -> None:
    run = small_run(
        workers=1,
        model=model,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=decay,
        lr=0.02,
        algorithm=part("prsgd", interval=3),
    )
    images = load(prepare(run.data, cache, lambda items, n: iter(items)), torch.device("cpu"))
    workers = build_workers(run, images, Cluster(1, "cpu", "fast"), bf16=False)
    plain = build_workers(run, images, Cluster(1, "cpu", "fast"), bf16=False).models[0]
    for owner, name, parameter in list(parameters(plain)):  # its own memory, torch's own layout
        owner._parameters[name] = nn.Parameter(
            parameter.detach().clone(memory_format=torch.preserve_format)
        )
    optimiser = torch.optim.SGD(
        plain.parameters(), run.lr, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )
    algorithm = PRSGD(interval=3)
    for t in range(1, 13):
        x, y = workers.draw(0, t - 1)
        optimiser.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimiser.step()
        workers.observe_gradients()
        algorithm.step(t, run.lr, workers)
        for ours, theirs in zip(workers.models[0].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    for ours, theirs in zip(workers.models[0].buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
