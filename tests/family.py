"""Every method of the family once more, in NumPy: x is (N, d), lr a function of t.

`grads(x, t)` are all G_i^t at the x_i, and the mini-batch losses. Each reference yields x after
every step, and returns what its run ends with. Run by torchrun, this file trains all cases on a
small network and leaves each process's rows in a folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, floor, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from drawn import LOCAL_STEP, Drawn
from torch import nn

from prsgd.algorithms.adacomm import AdaComm
from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.easgd import EASGD
from prsgd.algorithms.hierarchical import Hierarchical
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.outer import Outer
from prsgd.algorithms.post_local import PostLocalSGD
from prsgd.algorithms.qsr import QSR
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.scaffold import Scaffold
from prsgd.algorithms.slowmo import SlowMo
from prsgd.algorithms.vrl_sgd import VRLSGD
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.rounds import close_rounds
from prsgd.training.workers import RowWorkers

STEPS, PER_EPOCH, DROP = 200, 25, 120
FEATURES, HIDDEN, CLASSES, B = 6, 6, 4, 6
Grads = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
Reference = Iterator[np.ndarray]


def lr(t: int) -> float:
    """Drops once, by a factor of 4."""
    return 0.2 if t <= DROP else 0.05


def prsgd(x: np.ndarray, grads: Grads, interval: int, beta: float, nesterov: bool) -> Reference:
    u = 0 * x
    for t in range(1, STEPS + 1):
        g = grads(x, t)[0]
        u = beta * u + g
        x = x - (1 - beta) * lr(t) * (g + beta * u if nesterov else u)
        if t % interval == 0 or t == STEPS:
            x, u = 0 * x + x.mean(0), 0 * u + u.mean(0)
        yield x
    yield x


def post_local(x: np.ndarray, grads: Grads, interval: int, switch: int) -> Reference:
    for t in range(1, STEPS + 1):
        g = grads(x, t)[0]
        x = x - lr(t) * (g.mean(0) if t <= switch else g)
        if t > switch and ((t - switch) % interval == 0 or t == STEPS):
            x = 0 * x + x.mean(0)
        yield x
    yield x


def hierarchical(x: np.ndarray, grads: Grads, small: int, often: int, rarely: int) -> Reference:
    for t in range(1, STEPS + 1):
        x = x - lr(t) * grads(x, t)[0]
        if t % rarely == 0 or t == STEPS:
            x = 0 * x + x.mean(0)
        elif t % often == 0:
            x = np.concatenate([0 * part + part.mean(0) for part in np.split(x, len(x) // small)])
        yield x
    yield x


def slowmo(x: np.ndarray, grads: Grads, interval: int, beta: float, alpha: float) -> Reference:
    before, u = x[0], 0 * x[0]
    for t in range(1, STEPS + 1):
        x = x - lr(t) * grads(x, t)[0]
        if t % interval == 0 or t == STEPS:
            u = beta * u + (before - x.mean(0)) / lr(t)
            before = before - alpha * lr(t) * u
            x = 0 * x + before
        yield x
    yield x


def diloco(x: np.ndarray, grads: Grads, interval: int, outer: float, mu: float) -> Reference:
    before, m = x[0], 0 * x[0]
    for t in range(1, STEPS + 1):
        x = x - lr(t) * grads(x, t)[0]
        if t % interval == 0 or t == STEPS:
            delta = before - x.mean(0)
            m = mu * m + delta
            before = before - outer * (delta + mu * m)
            x = 0 * x + before
        yield x
    yield x


def outer_adam(x: np.ndarray, grads: Grads, interval: int, outer: float) -> Reference:
    before, m, v, r = x[0], 0 * x[0], 0 * x[0], 0
    for t in range(1, STEPS + 1):
        x = x - lr(t) * grads(x, t)[0]
        if t % interval == 0 or t == STEPS:
            delta, r = before - x.mean(0), r + 1
            m, v = 0.8 * m + 0.2 * delta, 0.9 * v + 0.1 * delta**2
            before = before - outer * m / (1 - 0.8**r) / (np.sqrt(v / (1 - 0.9**r)) + 1e-2)
            x = 0 * x + before
        yield x
    yield x


def diloco_adamw(x: np.ndarray, grads: Grads, interval: int, decay: float) -> Reference:
    before, outer, m, v = x[0], 0 * x[0], 0 * x, 0 * x
    for t in range(1, STEPS + 1):
        g, a = grads(x, t)[0], 0.01 * lr(t)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        x = x - a * decay * x
        x = x - a * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-2)
        if t % interval == 0 or t == STEPS:
            delta = before - x.mean(0)
            outer = 0.9 * outer + delta
            before = before - 0.7 * (delta + 0.9 * outer)
            x = 0 * x + before
        yield x
    yield x


def qsr(x: np.ndarray, grads: Grads, base: int, alpha: float) -> Reference:
    end = 0
    for t in range(1, STEPS + 1):
        if t > end:
            end = t - 1 + max(base, floor((alpha / lr(t)) ** 2 + 1e-9))
        x = x - lr(t) * grads(x, t)[0]
        if t in (end, STEPS):
            x = 0 * x + x.mean(0)
        yield x
    yield x


def adacomm(x: np.ndarray, grads: Grads, interval: int, block: int) -> Reference:
    steps, end, first = interval, interval, None
    for t in range(1, STEPS + 1):
        g, losses = grads(x, t)
        first = first or losses.mean()
        x = x - lr(t) * g
        if t in (end, STEPS):
            x = 0 * x + x.mean(0)
            if t >= block:
                new = ceil(interval * sqrt(0.2 / lr(t) * losses.mean() / first))
                steps, block = new if new < steps else ceil(steps / 2), t + PER_EPOCH
            end = t + steps
        yield x
    yield x


def easgd(x: np.ndarray, grads: Grads, interval: int, beta: float) -> Reference:
    centre = x[0]
    for t in range(1, STEPS + 1):
        x = x - lr(t) * grads(x, t)[0]
        if t % interval == 0 or t == STEPS:
            e = beta / len(x) * (x - centre)
            x, centre = x - e, centre + e.sum(0)
        yield x
    yield 0 * x + centre


def vrl_sgd(x: np.ndarray, grads: Grads, interval: int) -> Reference:
    delta, sum_lr = 0 * x, 0.0
    for t in range(1, STEPS + 1):
        x = x - lr(t) * (grads(x, t)[0] - delta)
        sum_lr += lr(t)
        if t % interval == 0 or t == STEPS:
            delta = delta + (x.mean(0) - x) / sum_lr
            x, sum_lr = 0 * x + x.mean(0), 0.0
        yield x
    yield x


def scaffold(x: np.ndarray, grads: Grads, interval: int, global_lr: float) -> Reference:
    y, x, c_i, c, sum_lr = x, x[0], 0 * x, 0 * x[0], 0.0
    for t in range(1, STEPS + 1):
        y = y - lr(t) * (grads(y, t)[0] - c_i + c)
        sum_lr += lr(t)
        if t % interval == 0 or t == STEPS:
            new = c_i - c + (x - y) / sum_lr
            c, c_i, sum_lr = c + (new - c_i).mean(0), new, 0.0
            x = x + global_lr * (y - x).mean(0)
            y = 0 * y + x
        yield y
    yield y


@dataclass
class Case:
    """An algorithm, its reference with the arguments, and the optimiser of its local steps."""

    algorithm: Algorithm
    reference: Callable[..., Reference]
    arguments: tuple[Any, ...]
    workers: int = 3
    optimiser: dict[str, Any] = field(default_factory=dict)
    rate: Callable[[int], float] = lr

    @property
    def keys(self) -> SimpleNamespace:
        plain = {"optimiser": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        return SimpleNamespace(
            **plain | {"betas": [0.9, 0.99], "eps": 1e-2} | LOCAL_STEP | self.optimiser
        )

    @property
    def info(self) -> RunInfo:
        return RunInfo(self.workers, STEPS, PER_EPOCH, self.lr)

    def lr(self, t: int) -> float:
        return self.rate(t) * (0.01 if self.keys.optimiser == "adamw" else 1 - self.keys.momentum)


HEAVY, NESTEROV = {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}
ADAMW = {"optimiser": "adamw", "weight_decay": 0.1}
CASES = {
    "prsgd": Case(PRSGD(7), prsgd, (7, 0.0, False)),
    "prsgd_momentum": Case(PRSGD(7), prsgd, (7, 0.9, False), optimiser=HEAVY),
    "prsgd_nesterov": Case(PRSGD(7), prsgd, (7, 0.9, True), optimiser=NESTEROV),
    "post_local_drop": Case(PostLocalSGD(7), post_local, (7, DROP)),
    "post_local_steps": Case(PostLocalSGD(7, "steps", 40), post_local, (7, 40)),
    "post_local_epochs": Case(PostLocalSGD(7, "epochs", 1.0), post_local, (7, PER_EPOCH)),
    "hierarchical": Case(Hierarchical({2: 3, 6: 12}), hierarchical, (2, 3, 12), workers=6),
    "slowmo": Case(SlowMo(7, 0.5, 0.9), slowmo, (7, 0.5, 0.9)),
    "diloco": Case(DiLoCo(7, 0.7, 0.9), diloco, (7, 0.7, 0.9)),
    "diloco_adamw": Case(DiLoCo(7), diloco_adamw, (7, 0.1), optimiser=ADAMW),
    "outer_adam": Case(Outer(7, "adam", 0.02, 0.8, 0.9, 1e-2), outer_adam, (7, 0.02)),
    "qsr": Case(QSR(3, alpha=0.6), qsr, (3, 0.6)),
    "adacomm": Case(AdaComm(16), adacomm, (16, PER_EPOCH)),
    "easgd": Case(EASGD(7, 0.9), easgd, (7, 0.9)),
    "vrl_sgd": Case(VRLSGD(7), vrl_sgd, (7,)),
    "scaffold": Case(Scaffold(7, 0.8), scaffold, (7, 0.8)),
}


def batch(worker: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng((worker, draw)).normal(size=(B, FEATURES))
    images[:, worker] *= 2  # each worker has data of its own
    return images, images[:, :CLASSES].argmax(1)


def net_gradient(x: np.ndarray, worker: int, draw: int) -> tuple[np.ndarray, float]:
    """Of a two-layer network's mean cross-entropy, by hand; and the loss."""
    images, labels = batch(worker, draw)
    cuts = np.cumsum([HIDDEN * FEATURES, HIDDEN, CLASSES * HIDDEN])
    w1, b1, w2, b2 = np.split(x, cuts)
    w1, w2 = w1.reshape(HIDDEN, FEATURES), w2.reshape(CLASSES, HIDDEN)
    h = np.tanh(images @ w1.T + b1)
    p = np.exp(h @ w2.T + b2)
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[range(B), labels]).mean()
    d = (p - np.eye(CLASSES)[labels]) / B
    e = d @ w2 * (1 - h * h)
    return np.concatenate([(e.T @ images).ravel(), e.sum(0), (d.T @ h).ravel(), d.sum(0)]), loss


def net_gradients(x: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
    gradients, losses = zip(*(net_gradient(row, i, t - 1) for i, row in enumerate(x)), strict=True)
    return np.array(gradients), np.array(losses)


def network(case: Case, processes: int = 1, reduction: str = "fast") -> RowWorkers:
    def draw(worker: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = batch(worker, k)
        return torch.from_numpy(images).float(), torch.from_numpy(labels)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
    communicator = Communicator(case.workers, "cpu", reduction, processes)
    return RowWorkers(model, communicator, Drawn(draw), case.keys, bf16=False)


def play(case: Case, workers: Any) -> Iterator[Any]:
    """x after every step, and what the run ends with."""
    algorithm = case.algorithm
    algorithm.begin(case.info, workers)
    for t in range(1, STEPS + 1):
        workers.compute_gradients(algorithm.active(t, case.info))
        algorithm.step(t, case.lr(t), workers)
        if t < STEPS:
            yield workers.x
    algorithm.finish(STEPS, case.lr(STEPS), workers)
    yield workers.x
    centre = algorithm.eval_params(workers)
    yield workers.x if centre is None else 0 * workers.x + centre


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    start = dist.init_process_group
    dist.init_process_group = lambda *a, **k: dist.is_initialized() or start(*a, **k)
    for name in names:
        case = CASES[name]
        for reduction in ("fast", "exact"):
            workers = network(case, int(os.environ["WORLD_SIZE"]), reduction)
            x = torch.stack([rows.clone() for rows in play(case, workers)])
            ledger = workers.ledger
            close_rounds(ledger, workers.communicator)
            del ledger.open, ledger.comm_seconds, ledger.wait_seconds
            saved = {"x": x, "hosted": workers.communicator.local_workers, "ledger": vars(ledger)}
            torch.save(saved, folder / f"{name}-{reduction}-{workers.communicator.rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
