"""Each algorithm follows an independent NumPy reference, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import part, small_run
from drawn import LOCAL_STEP, Drawn
from torch import nn

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.minibatch import MiniBatchSGD
from prsgd.algorithms.one_shot import OneShot
from prsgd.algorithms.restarted import PRSGD
from prsgd.distributed.communicator import Communicator
from prsgd.training.workers import RowWorkers

N, FEATURES, CLASSES, B, STEPS, LR = 3, 5, 4, 6, 14, 0.3


def batch(worker: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng((worker, draw))
    return rng.normal(size=(B, FEATURES)), rng.integers(0, CLASSES, B)


def gradient(x: np.ndarray, worker: int, draw: int) -> np.ndarray:
    """Of softmax regression's mean cross-entropy, by hand; x is (weights, biases), flat."""
    images, labels = batch(worker, draw)
    weights, biases = x[: CLASSES * FEATURES].reshape(CLASSES, FEATURES), x[CLASSES * FEATURES :]
    p = np.exp(images @ weights.T + biases)
    p = p / p.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    return np.concatenate([(p.T @ images).ravel(), p.sum(0)]) / B


def reference(algorithm: Algorithm, x0: np.ndarray, mu: float, nesterov: bool, decay: float):
    """Yields all x_i after every step, and after the end. Written from the papers' rules."""
    x, m = np.tile(x0, (N, 1)), np.zeros((N, len(x0)))
    name, at_sync = algorithm.name, getattr(algorithm, "momentum_at_sync", "keep")

    def average() -> None:
        x[:] = x.mean(0)
        m[:] = {"average": m.mean(0), "keep": m, "reset": 0 * m}[at_sync]

    for t in range(1, STEPS + 1):
        g = np.array([gradient(x[i], i, t - 1) for i in range(N)])
        if name == "minibatch":
            g[:] = g.mean(0)
        if name == "prsgd" and algorithm.order == "literal" and t % algorithm.interval == 0:
            average()
        g += decay * x
        m[:] = mu * m + g
        x -= LR * (g + mu * m if nesterov else m)
        if name == "prsgd" and algorithm.order == "restart" and t % algorithm.interval == 0:
            average()
        yield x.copy()
    average()
    yield x.copy()


def make(momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> RowWorkers:
    def draw(worker: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = batch(worker, k)
        return torch.from_numpy(images).float(), torch.from_numpy(labels)

    torch.manual_seed(0)
    communicator = Communicator(N, "cpu", "fast")
    keys = SimpleNamespace(
        optimiser="sgd", momentum=momentum, nesterov=nesterov, weight_decay=decay, **LOCAL_STEP
    )
    return RowWorkers(nn.Linear(FEATURES, CLASSES), communicator, Drawn(draw), keys, bf16=False)


@pytest.mark.parametrize("reduction", ["fast", "exact"])
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"), [(0, False, 0), (0.9, False, 0.01), (0.9, True, 0.01)]
)
@pytest.mark.parametrize(
    "algorithm",
    [
        MiniBatchSGD(),
        OneShot(),
        *(
            PRSGD(interval=interval, order=order, momentum_at_sync=at_sync)
            for interval in (1, 4)
            for order in ("restart", "literal")
            for at_sync in ("average", "keep", "reset")
        ),
    ],
    ids=repr,
)
def test_follows_the_reference(
    algorithm: Algorithm, momentum: float, nesterov: bool, decay: float, reduction: str
) -> None:
    workers = make(momentum, nesterov, decay)
    workers.communicator = Communicator(N, "cpu", reduction)
    expected = reference(algorithm, workers.x[0].double().numpy(), momentum, nesterov, decay)
    for t in range(1, STEPS + 1):
        workers.compute_gradients()
        algorithm.step(t, LR, workers)
        np.testing.assert_allclose(workers.x, next(expected), atol=1e-5)
    algorithm.finish(STEPS, LR, workers)
    np.testing.assert_allclose(workers.x, next(expected), atol=1e-5)


def test_the_reference_tells_algorithms_apart() -> None:
    """A test of the tests: every rule ends somewhere else."""
    rules = [
        MiniBatchSGD(),
        OneShot(),
        PRSGD(4),
        PRSGD(4, "literal"),
        PRSGD(4, "restart", momentum_at_sync="keep"),
    ]
    x0 = np.linspace(-1, 1, CLASSES * (FEATURES + 1))
    ends = [list(reference(rule, x0, 0.9, False, 0))[-1][0] for rule in rules]
    gaps = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(gaps) > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_interval_one_is_minibatch(train_here: Callable, momentum: float) -> None:
    """With `order: restart`, and momentum averaged, to rounding over 70 steps."""
    shared = {"epochs": 3.5, "momentum": momentum}
    _, one = train_here(small_run(algorithm=part("prsgd", interval=1), **shared), "one")
    _, mini = train_here(small_run(algorithm=part("minibatch"), **shared), "mini")
    a, b = weights(one.path), weights(mini.path)
    assert sum(map(torch.numel, a.values())) > 1000
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=0)


def test_interval_one_in_literal_order_is_not_minibatch(train_here: Callable) -> None:
    _, literal = train_here(
        small_run(algorithm=part("prsgd", interval=1, order="literal")), "literal"
    )
    _, mini = train_here(small_run(algorithm=part("minibatch")), "mini")
    a, b = weights(literal.path), weights(mini.path)
    assert max(float((a[name] - b[name]).abs().max()) for name in a) > 1e-4


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
