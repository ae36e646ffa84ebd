"""AdamW whose moments are averaged, beside NumPy, and its checkpoints of version 0.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Trainer, numbers, part, small_run
from family import STEPS, Case, net_gradient, network
from safetensors.torch import load_file
from test_resume import stopping_at

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.heterogeneous import HeterogeneousPRSGD
from prsgd.algorithms.hierarchical import Hierarchical
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.restarted import PRSGD
from prsgd.distributed.communicator import Communicator
from prsgd.training import checkpoint_files

LR, BETAS, EPS, DECAY = 0.01, (0.8, 0.99), 1e-2, 0.1
Groups = Callable[[int], int]  # the workers in a group that is averaged after step t; 0 for none


INFO = RunInfo(4, STEPS, 1.0, lambda t: LR)


def reference(x: np.ndarray, algorithm: Algorithm, group: Groups, steps: int) -> np.ndarray:
    """The bias-corrected averages hold sums of weights of their own, averaged as they are."""
    n = len(x)
    m, v, weight_m, weight_v = 0 * x, 0 * x, np.zeros((n, 1)), np.zeros((n, 1))
    draws = [0] * n
    for t in range(1, steps + 1):
        active = algorithm.active(t, INFO)
        for i in range(n) if active is None else active:
            g, _ = net_gradient(x[i], i, draws[i])
            draws[i] += 1
            m[i] += (1 - BETAS[0]) * (g - m[i])
            v[i] += (1 - BETAS[1]) * (g**2 - v[i])
            weight_m[i] += (1 - BETAS[0]) * (1 - weight_m[i])
            weight_v[i] += (1 - BETAS[1]) * (1 - weight_v[i])
            x[i] -= LR * DECAY * x[i]
            x[i] -= LR * (m[i] / weight_m[i]) / (np.sqrt(v[i] / weight_v[i]) + EPS)
        if size := group(t):
            for rows in (x, m, v, weight_m, weight_v):
                parts = rows.reshape(n // size, size, -1)
                parts[:] = parts.mean(1, keepdims=True)
    return x


@dataclass
class UnequalInGroups(Hierarchical):
    """Within the groups of two, the first worker takes every step and the second each third."""

    def active(self, t: int, info: RunInfo) -> list[int]:
        return [0, 2] if t % 3 else [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("algorithm", "group"),
    [
        (HeterogeneousPRSGD(local_steps=[7, 3, 1, 2]), lambda t: 4 * (t % 7 == 0)),
        (UnequalInGroups({2: 2, 4: 6}), lambda t: 4 if t % 6 == 0 else 2 * (t % 2 == 0)),
        (PRSGD(5), lambda t: 4 * (t % 5 == 0)),
    ],
    ids=["algorithm 3", "groups", "equal steps"],
)
def test_averaged_moments_by_numpy(algorithm: Algorithm, group: Groups) -> None:
    keys = {"optimiser": "adamw", "betas": list(BETAS), "eps": EPS, "weight_decay": DECAY}
    workers = network(Case(algorithm, reference, (), workers=4, optimiser=keys))
    start = workers.x.double().numpy().copy()
    for t in range(1, STEPS // 4 + 1):
        workers.compute_gradients(algorithm.active(t, INFO))
        algorithm.step(t, LR, workers)
    expected = reference(start, algorithm, group, STEPS // 4)
    np.testing.assert_allclose(workers.x.numpy(), expected, atol=2e-5)


def test_equal_steps_are_counted_as_before() -> None:
    """1 - β^k, and averaging changes nothing in it."""
    keys = {"optimiser": "adamw", "betas": list(BETAS)}
    workers = network(Case(PRSGD(5), reference, (), workers=3, optimiser=keys))
    for t in range(1, STEPS + 1):
        workers.compute_gradients()
        PRSGD(5).step(t, LR, workers)
        for c, beta in zip(workers.optimizer.corrections.values(), BETAS, strict=True):
            assert c.flatten().tolist() == pytest.approx([1 - beta**t] * 3, rel=1e-13)


@pytest.mark.parametrize(
    "algorithm", [part("prsgd", interval=3), part("unequal", local_steps=[4, 2])]
)
def test_checkpoints_that_count_steps_are_read(train_here: Trainer, algorithm: dict) -> None:
    """Version 0.1 kept k of each worker in place of the corrections."""
    keys = {"optimiser": "adamw", "lr": 1e-3, "momentum_at_sync": "keep"}
    run = small_run(algorithm={**algorithm, "momentum_at_sync": "keep"}, **keys)
    _, whole = train_here(run, "whole")
    _, folder = train_here(run, "stopped", stopping_at(9))
    step, counters, _ = checkpoint_files.newest(folder.checkpoints, lambda _: "")
    tensors = load_file(folder.checkpoints / f"{step:09d}" / "part-0.safetensors")
    assert tensors.pop("optimiser/correction_m.all").shape == (2, 1)
    assert tensors.pop("optimiser/correction_v.all").shape == (2, 1)
    for worker in range(2):
        active = (run.algorithm.active(t, INFO) for t in range(1, step + 1))
        k = sum(workers is None or worker in workers for workers in active)
        tensors[f"optimiser/k.{worker}"] = torch.tensor([k], dtype=torch.float64)
    communicator = Communicator(2, "cpu", "fast")
    checkpoint_files.save(folder.checkpoints, step, tensors, counters, communicator)
    assert train_here(run, "stopped")[0] == "done"
    pd.testing.assert_frame_equal(numbers(folder), numbers(whole), rtol=1e-6)
