"""Algorithms 2 and 3, their books, and the virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import ceil

import numpy as np
import pytest
from conftest import numbers, part, small_run, table
from test_algorithms import LR, N, gradient, make

from prsgd.algorithms.epochs import PRSGDEpochs
from prsgd.algorithms.heterogeneous import HeterogeneousPRSGD
from prsgd.algorithms.info import RunInfo
from prsgd.config.naming import run_name
from prsgd.config.schema import Run
from prsgd.errors import UserError

INFO = RunInfo(N, 0, 1.0, lambda t: LR)


def unequal_rounds(local_steps: list[int], x0: np.ndarray, mu: float, decay: float, rounds: int):
    """All x_i after each round: worker i goes through its own batches, I_i a round."""
    x, m = np.tile(x0, (N, 1)), np.zeros((N, len(x0)))
    for r in range(rounds):
        for i, steps in enumerate(local_steps):
            for k in range(steps):
                g = gradient(x[i], i, r * steps + k) + decay * x[i]
                m[i] = mu * m[i] + g
                x[i] -= LR * m[i]
        x[:], m[:] = x.mean(0), m.mean(0)
        yield x.copy()


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.01)])
@pytest.mark.parametrize("local_steps", [[3, 2, 1], [1, 4, 4], [2, 2, 2]])
def test_algorithm_3_follows_the_reference(
    local_steps: list[int], momentum: float, decay: float
) -> None:
    workers = make(momentum, decay=decay)
    algorithm = HeterogeneousPRSGD(local_steps=local_steps)
    x0 = workers.x[0].double().numpy()
    for r, expected in enumerate(unequal_rounds(local_steps, x0, momentum, decay, 5), 1):
        for t in range((r - 1) * max(local_steps) + 1, r * max(local_steps) + 1):
            workers.compute_gradients(algorithm.active(t, INFO))
            algorithm.step(t, LR, workers)
        np.testing.assert_allclose(workers.x, expected, atol=1e-5)
        assert workers.draws.tolist() == [r * steps for steps in local_steps]
        assert algorithm.batches_drawn(t, N) == r * sum(local_steps)
    assert workers.ledger.count == 5


@pytest.mark.parametrize("scale", [1 / N, 2.0])
def test_algorithm_2_follows_the_reference(scale: float) -> None:
    workers = make()
    algorithm = PRSGDEpochs(
        workers=N, cap=0.3, steps_scale="auto" if scale == 1 / N else scale, lr_power=0.9
    )
    x, k = np.tile(workers.x[0].double().numpy(), (N, 1)), 0
    for s in range(1, 40):
        for _ in range(ceil(scale * s ** (1 / 3) - 1e-9)):
            x -= min(0.3, N / s**0.9) * np.array([gradient(x[i], i, k) for i in range(N)])
            k += 1
            workers.compute_gradients(algorithm.active(k, INFO))
            algorithm.step(k, algorithm.lr(k, 99.0), workers)
        x[:] = x.mean(0)
        np.testing.assert_allclose(workers.x, x, atol=1e-5)
    assert workers.ledger.count == 39


def test_algorithm_2_has_the_papers_schedule() -> None:
    """K^s = ceil(s^{1/3}/N), lr^s = min(cap, N/s^{2/3}), whatever t is asked for first."""
    algorithm = PRSGDEpochs(workers=2, cap=0.5)
    local_steps = [ceil(round(s ** (1 / 3), 9) / 2) for s in range(1, 2000)]
    ends = list(accumulate(local_steps))
    assert local_steps[62:66] == [2, 2, 3, 3]  # 64^{1/3}/2 is exactly 2
    for s in (1500, 64, 1, 65, 2):
        assert algorithm.epoch(ends[s - 1]) == (s, ends[s - 1])
        assert algorithm.epoch(ends[s - 1] + 1)[0] == s + 1
        assert algorithm.lr(ends[s - 1], 9.0) == pytest.approx(min(0.5, 2 / s ** (2 / 3)))


def test_with_local_steps_nothing_else_is_read() -> None:
    """So the name, the label and the drift's bound know the largest I_i."""

    def run(**keys: object) -> Run:
        return small_run(algorithm=part("unequal", local_steps=[12, 3], **keys))

    names = {
        run_name(run(**keys), "fp32", "data")
        for keys in ({}, {"interval": 3}, {"speeds": [1.0, 2.0]})
    }
    assert len(names) == 1
    assert names.pop().startswith("prsgd_heterogeneous-I12-N2-")


def test_speeds_become_steps() -> None:
    algorithm = HeterogeneousPRSGD(interval=8, speeds=[1, 1, 2, 4, 0.1])
    assert algorithm.steps_of == [2, 2, 4, 8, 1]
    assert [algorithm.active(t, INFO) for t in (1, 2, 3, 8, 9)] == [
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3],
        [2, 3],
        [3],
        [0, 1, 2, 3, 4],
    ]


def test_the_books_of_algorithm_3(train_here: Callable) -> None:
    """160 images, b = 4, 2 epochs: 80 draws; rounds of 4 + 1 draws in 4 steps; 64 steps."""
    keys = {"algorithm": part("unequal", local_steps=[4, 1]), "speeds": [4.0, 0.5]}
    _, folder = train_here(small_run(**keys))
    metrics, rounds = numbers(folder), table(folder, "rounds.csv")
    assert list(metrics["step"]) == [0, 32, 64]
    assert list(metrics["epoch"]) == [0, 1, 2]
    assert set(rounds["local_steps"]) == {"4 1"}
    assert len(rounds) == 16
    # in each round worker 1 takes 1 / 0.5 = 2 seconds, worker 0 only 4 / 4
    assert list(metrics["virtual_time"]) == [0, 16, 32]
    assert rounds["virtual_time"].astype(float).tolist() == [2.0 * r for r in range(1, 17)]


def test_on_the_virtual_clock_everybody_waits_for_the_slowest(train_here: Callable) -> None:
    """Algorithm 1, I = 8: 8 / 0.5 = 16 a round; a row within a round waits as well."""
    _, folder = train_here(small_run(speeds=[4.0, 0.5], epochs=1))
    assert list(numbers(folder)["virtual_time"]) == [0, 40]
    rounds = numbers(folder, "rounds.csv")
    assert list(rounds["local_steps"]) == [8, 8, 4]
    assert list(rounds["virtual_time"]) == [16, 32, 40]


def test_g2_is_the_mean_squared_norm_of_all_gradients(train_here: Callable) -> None:
    from prsgd.training.workers import RowWorkers

    norms: list[float] = []
    compute = RowWorkers.compute_gradients

    def watching(self: RowWorkers, active: object = None, signal: int = 0) -> None:
        compute(self)
        norms.extend(float(g.double().square().sum()) for g in self.g)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowWorkers, "compute_gradients", watching)
        _, folder = train_here(small_run(momentum=0.9))
    g2 = numbers(folder)["g2"]
    assert np.isnan(g2[0])
    half = len(norms) // 2
    np.testing.assert_allclose(g2[1:], [np.mean(norms[:half]), np.mean(norms[half:])], rtol=1e-5)


def test_algorithm_2_reads_no_schedule() -> None:
    def name(**keys: object) -> str:
        return run_name(small_run(algorithm=part("epochs", workers=2), **keys), "fp32", "data")

    steps = {"_target_": "prsgd.schedule.StepDrops"}
    assert name() == name(schedule=steps) == name(lr=0.7)
    assert name() != name(momentum=0.9)


def test_algorithm_3_says_where_it_goes_on_different_data(
    train_here: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"algorithm": part("unequal", local_steps=[4, 1]), "epochs": 0.5}
    warning = "converges towards the optimum of the weighted mean of their losses"
    train_here(small_run(**keys), "same")
    assert warning not in capsys.readouterr().out
    different = part("synthetic", train=160, test=40, size=8, partition="by_label")
    train_here(small_run(**keys, data=different), "different")
    assert f"{warning} with weights [4, 1], not of the plain one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"algorithm": part("unequal")},
            "algorithm=prsgd_heterogeneous: needs local_steps=[I_1,...] or speeds=[v_1,...] with "
            "a number for each of the 2 workers",
        ),
        (
            {"algorithm": part("unequal", local_steps=[1, 2, 3])},
            "algorithm=prsgd_heterogeneous: needs local_steps=[I_1,...] or speeds=[v_1,...] with "
            "a number for each of the 2 workers",
        ),
        (
            {"algorithm": part("unequal", local_steps=[0, 2])},
            "algorithm.local_steps=[0, 2]: must be whole numbers of at least 1",
        ),
        (
            {"speeds": [1.0]},
            "speeds=[1.0]: must be empty or a number for each of the 2 workers",
        ),
        ({"speeds": [1.0, -2.0]}, "speeds=[1.0, -2.0]: must be numbers above 0"),
        (
            {"algorithm": part("epochs", workers=3)},
            "algorithm=prsgd_epochs: algorithm.workers must be workers=2",
        ),
        (
            {"algorithm": part("epochs", lr_scale=-1)},
            "algorithm.lr_scale=-1: must be auto or a number above 0",
        ),
    ],
)
def test_impossible_values(keys: dict, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        small_run(**keys)
    assert str(refusal.value) == message
