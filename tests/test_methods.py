"""Methods of papers that are settings: what +method= sets, and that it is the paper's rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Command
from family import CASES, STEPS, Case, lr, net_gradient, network, play

import prsgd
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.outer import Outer
from prsgd.config.choices import files
from prsgd.distributed.compression import TopK
from prsgd.errors import UserError

SETTINGS: dict[str, dict[str, Any]] = {
    "fedavg": {"algorithm": "prsgd", "participation": 0.25},
    "fednova": {"algorithm": "prsgd_heterogeneous", "algorithm.weights": "equal"},
    "streaming_diloco": {"algorithm": "diloco", "fragments": 4, "delay": 1, "merge": 0.5},
    "delayed_diloco": {"algorithm": "diloco", "delay": 8, "merge": "progress"},
    "cocod_sgd": {
        **{"algorithm": "prsgd", "delay": 8, "merge": "progress"},
        "algorithm.momentum_at_sync": "keep",
    },
    "sparseloco": {
        **{"algorithm": "diloco", "algorithm.outer_lr": 1.0, "algorithm.outer_momentum": 0.0},
        **{"compression": "topk", "compression.ratio": 0.02, "compression.error_feedback": True},
        "compression.residual_decay": 0.95,
    },
    "lookahead": {
        **{"algorithm": "outer", "workers": 1, "algorithm.interval": 5},
        **{"algorithm.outer": "sgd", "algorithm.outer_lr": 0.5, "algorithm.outer_momentum": 0.0},
    },
}
MORE = {"fednova": ["local_steps=[8,4,2,1]"]}


def test_all_are_known() -> None:
    assert {path.stem for path in files("method")} == {*SETTINGS}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_is_its_settings(name: str) -> None:
    run = prsgd.compose(f"+method={name}", *MORE.get(name, [])).as_dict()
    flat = {**run, **{f"{g}.{k}": v for g in GROUPS for k, v in run[g].items()}}
    flat |= {group: run[group]["name"] for group in GROUPS}
    assert {key: flat[key] for key in SETTINGS[name]} == SETTINGS[name]


GROUPS = ("algorithm", "compression")


def test_what_a_method_sets_can_be_said_otherwise() -> None:
    run = prsgd.compose("+experiment=quickstart", "+method=fedavg", "participation=0.5")
    assert (run.participation, run.model.title) == (0.5, "ResNet-8")


def test_a_method_is_added(prsgd: Command) -> None:
    shown = prsgd("train", "method=fedavg")
    assert shown.stderr == "prsgd: method: say +method=NAME, as no method is chosen by default\n"
    shown = prsgd("train", "+method=fedavgg")
    assert shown.stderr.endswith("sparseloco, streaming_diloco; did you mean fedavg?\n")


def test_sparseloco_by_numpy() -> None:
    """e_i <- 0.95 e_i + x_prev - x_i; the largest of it are sent; x_prev <- x_prev - their mean."""
    decay, ratio, every, N = 0.95, 0.2, 7, 3
    case = Case(DiLoCo(every, 1.0, 0.0), CASES["prsgd"].reference, ())
    workers = network(case)
    workers.compress(TopK(error_feedback=True, residual_decay=decay, ratio=ratio), 0)
    point = workers.x[0].double().numpy()
    x, e = np.tile(point, (N, 1)), np.zeros((N, len(point)))
    found = [rows.numpy().copy() for rows in play(case, workers)]
    kept = round(ratio * len(point))
    for t in range(1, STEPS):
        x = x - lr(t) * np.stack([net_gradient(row, i, t - 1)[0] for i, row in enumerate(x)])
        if t % every == 0:
            e = decay * e + point - x
            sent = np.zeros_like(e)
            for i in range(N):
                largest = np.argsort(-abs(e[i]))[:kept]
                sent[i, largest] = e[i, largest]
            e, point = e - sent, point - sent.mean(0)
            x = np.tile(point, (N, 1))
        np.testing.assert_allclose(found[t - 1], x, atol=1e-4)
    assert abs(e).max() > 1e-3


def test_lookahead_by_numpy() -> None:
    """Five steps of one worker, and then half-way back to where they began."""
    case = Case(Outer(5, "sgd", 0.5, 0.0), CASES["prsgd"].reference, (), workers=1)
    workers = network(case)
    slow = fast = workers.x[0].double().numpy()
    found = [rows.numpy().copy() for rows in play(case, workers)]
    for t in range(1, STEPS):
        fast = fast - lr(t) * net_gradient(fast, 0, t - 1)[0]
        if t % 5 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
        np.testing.assert_allclose(found[t - 1][0], fast, atol=1e-5)


def test_residuals_that_fade_need_residuals() -> None:
    with pytest.raises(UserError) as caught:
        prsgd.compose("compression=int8", "compression.residual_decay=0.9")
    line = "compression.residual_decay=0.9: needs compression.error_feedback=true"
    assert str(caught.value) == line
