"""Rounds of some workers: a sample that takes part, groups in between, and unequal steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, cut_short, numbers, part, same_on_any_processes, small_run, table
from family import CASES, HEAVY, STEPS, Case, lr, net_gradient, network, play
from safetensors.torch import load_file

from prsgd import compose
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.heterogeneous import HeterogeneousPRSGD
from prsgd.algorithms.hierarchical import Hierarchical
from prsgd.algorithms.participation import drawn, taking_part
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.scaffold import Scaffold
from prsgd.algorithms.slowmo import SlowMo
from prsgd.config.build import build_run
from prsgd.config.schema import Run
from prsgd.cost.estimate import communication
from prsgd.errors import UserError
from prsgd.run_folder import RunFolder
from prsgd.theory.problems import different_hessians
from prsgd.theory.workers import ProblemWorkers, run
from prsgd.training.views import pooled

EVERY, N, S = 7, 4, 2  # I, N, and how many take part
SAMPLES = [[0, 3, 6], [0, 2, 3], [0, 4, 7]]  # of seed 0
ROUND = part("prsgd", interval=4, participation=0.5)

# who takes part ----------------------------------------------------------------------------------


def test_everybody_takes_part_as_often() -> None:
    """Of 6000 rounds each worker is in a third, and each pair in 1/15 of them."""
    sets = [drawn(3, r, 6, 2) for r in range(1, 6001)]
    assert all(a < b for a, b in sets)
    alone, together = np.zeros(6), np.zeros((6, 6))
    for a, b in sets:
        alone[[a, b]] += 1
        together[a, b] += 1
    np.testing.assert_allclose(alone, 2000, atol=5 * (6000 * 2 / 9) ** 0.5)
    np.testing.assert_allclose(together[np.triu_indices(6, 1)], 400, atol=100)


def test_the_sample_is_a_function_of_seed_and_round() -> None:
    """These are the samples of version 0.2, which resumed and repeated runs rely on."""
    assert [drawn(0, r, 8, 3) for r in (1, 2, 3)] == SAMPLES
    assert drawn(1, 1, 8, 3) != SAMPLES[0]


def test_a_share_of_the_workers_is_one_at_least() -> None:
    assert [taking_part(p, 4) for p in (1.0, 0.6, 0.5, 0.1)] == [4, 2, 2, 1]


# references --------------------------------------------------------------------------------------


def sampled(method: str, x0: np.ndarray, momentum: str) -> Iterator[np.ndarray]:
    """x (N, D) after every step: each worker goes through batches of its own."""
    x, m_i = np.tile(x0, (N, 1)), np.zeros((N, len(x0)))
    point, u, c, c_i = x0.copy(), 0 * x0, 0 * x0, 0 * m_i
    draws, rates = [0] * N, 0.0
    mu = 0.9 if momentum else 0.0
    for t in range(1, STEPS + 1):
        some = drawn(0, (t - 1) // EVERY + 1, N, S)
        for i in some:
            g = net_gradient(x[i], i, draws[i])[0] - c_i[i] + c
            draws[i] += 1
            m_i[i] = mu * m_i[i] + g
            x[i] = x[i] - (1 - mu) * lr(t) * m_i[i]
        rates += lr(t)
        if t % EVERY == 0 or t == STEPS:
            mean = x[some].mean(0)
            if method == "scaffold":
                new = {i: c_i[i] - c + (point - x[i]) / rates for i in some}
                change = sum(new[i] - c_i[i] for i in some) / S  # type: ignore[misc]
                c = c + S / N * change
                for i in some:
                    c_i[i] = new[i]
                point = point + 0.8 * (mean - point)
            elif method == "diloco":
                delta = point - mean
                u = 0.9 * u + delta
                point = point - 0.7 * (delta + 0.9 * u)
            elif method == "slowmo":
                u = 0.5 * u + (point - mean) / lr(t)
                point = point - 0.9 * lr(t) * u
            else:
                point = mean
            x, rates = np.tile(point, (N, 1)), 0.0
            if momentum == "average":
                m_i = np.tile(m_i[some].mean(0), (N, 1))
            elif momentum == "reset":
                m_i = 0 * m_i
        yield x.copy()


METHODS: dict[str, Any] = {
    "prsgd": PRSGD(EVERY, participation=0.5),
    "diloco": DiLoCo(EVERY, 0.7, 0.9, participation=0.5),
    "slowmo": SlowMo(EVERY, 0.5, 0.9, participation=0.5),
    "scaffold": Scaffold(EVERY, 0.8, participation=0.5),
}


@pytest.mark.parametrize("method", METHODS)
def test_follows_its_reference(method: str) -> None:
    case = Case(METHODS[method], CASES["prsgd"].reference, (), workers=N)
    workers = network(case)
    wanted = np.stack([*sampled(method, workers.x[0].double().numpy(), "")])
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[: STEPS - 1]
    np.testing.assert_allclose(found, wanted[: STEPS - 1], atol=3e-5)
    assert np.ptp(found, 1).max() > 1e-2


@pytest.mark.parametrize("at_sync", ["average", "keep", "reset"])
def test_moments_follow_their_reference(at_sync: str) -> None:
    algorithm = PRSGD(EVERY, participation=0.5, momentum_at_sync=at_sync)
    case = Case(algorithm, CASES["prsgd"].reference, (), workers=N, optimiser=HEAVY)
    workers = network(case)
    wanted = np.stack([*sampled("prsgd", workers.x[0].double().numpy(), at_sync)])
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[: STEPS - 1]
    np.testing.assert_allclose(found, wanted[: STEPS - 1], atol=3e-5)


def test_all_in_a_round_is_the_plain_method() -> None:
    cases = [
        Case(PRSGD(EVERY, participation=p), CASES["prsgd"].reference, (), workers=N)
        for p in (1, 0.99)
    ]
    ends = [np.stack([x.numpy().copy() for x in play(case, network(case))]) for case in cases]
    np.testing.assert_allclose(*ends, atol=1e-6)


# what is counted ---------------------------------------------------------------------------------


def test_the_books(train_here: Any) -> None:
    """160 images, b = 4, 2 epochs: 80 draws of 2 of 4 workers, 40 steps, rounds of 4."""
    run = small_run(workers=4, participation=0.5, algorithm=ROUND)
    status, folder = train_here(run)
    assert status == "done"
    metrics, rounds = numbers(folder), table(folder, "rounds.csv")
    assert metrics["step"].tolist() == [0, 20, 40]
    assert metrics["epoch"].tolist() == [0, 1, 2]
    assert metrics["drift"].iloc[1:].tolist() == [0, 0], "all are at one point after a round"
    sets = [drawn(run.seed, r, 4, 2) for r in range(1, 11)]
    wanted = [" ".join("4" if i in some else "0" for i in range(4)) for some in sets]
    assert rounds["local_steps"].tolist() == wanted
    model = float(rounds["payload_bytes"][0])
    newcomers = [0, *(len({*now} - {*then}) for then, now in pairwise(sets))]
    assert {0, 1, 2} >= {*newcomers} > {0}
    assert rounds["download_bytes"].astype(float).tolist() == [n / 2 * model for n in newcomers]
    last = metrics.iloc[-1]
    assert last["payload_bytes"] == 10 * model
    assert last["download_bytes"] == sum(newcomers) / 2 * model
    assert last["wire_bytes"] == 2 * (2 - 1) / 2 * 10 * model + last["download_bytes"]
    assert (rounds["drift"].astype(float) > 0).all()


def test_drift_is_of_those_that_take_part() -> None:
    case = Case(METHODS["prsgd"], CASES["prsgd"].reference, (), workers=N)
    workers = network(case)
    states = [x.double().numpy().copy() for x in play(case, workers)][:EVERY]
    some = drawn(0, 1, N, S)
    gone = [net_gradient(states[EVERY - 2][i], i, EVERY - 1)[0] for i in some]
    x = np.stack([states[EVERY - 2][i] - lr(EVERY) * g for i, g in zip(some, gone, strict=True)])
    drift = np.square(x - x.mean(0)).sum(1).mean()
    assert float(workers.ledger.open[0].drifts.mean()) == pytest.approx(drift, rel=1e-4)


def test_evaluation_in_a_round_is_of_those_that_take_part() -> None:
    case = Case(METHODS["prsgd"], CASES["prsgd"].reference, (), workers=N)
    workers = network(case)
    x = [*islice(play(case, workers), EVERY + 3)][-1]
    some = drawn(0, 2, N, S)
    model, drift = workers.consensus(None, case.algorithm.among(workers))
    found = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(found, x[some].mean(0), rtol=0, atol=1e-6)
    wanted = (x[some] - x[some].mean(0)).square().sum(1).mean()
    assert drift == pytest.approx(float(wanted), rel=1e-4)


def test_the_idle_take_the_statistics_of_the_others() -> None:
    case = Case(METHODS["prsgd"], CASES["prsgd"].reference, (), workers=N)
    workers = network(case)
    workers.s = torch.rand(N, 6)
    own = workers.s.clone()
    assert workers.take_newcomers([1, 3]) == 0, "at the start all know the same"
    workers.pool_statistics([1, 3])
    assert torch.equal(workers.s[[1, 3]], own[[1, 3]])
    torch.testing.assert_close(workers.s[[0, 2]], pooled(own[[1, 3]]).expand(2, -1))
    torch.testing.assert_close(pooled(workers.s), pooled(own[[1, 3]]))
    assert workers.take_newcomers([0, 3]) == 1
    assert workers.take_newcomers([1, 2]) == 2


# kept and repeated -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("algorithm=diloco", marks=pytest.mark.faults),
        "algorithm=scaffold compression=topk",
    ],
)
def test_processes_do_not_matter(prsgd: Command, tmp_path: Path, more: str) -> None:
    same_on_any_processes(prsgd, tmp_path, *more.split(), "participation=0.5")


@pytest.mark.parametrize("kind", ["none", "int4", "topk"])
def test_resumes_bitwise(train_here: Any, kind: str) -> None:
    algorithm = part("scaffold", interval=4, participation=0.5)
    compression = {"name": kind} | ({} if kind == "none" else {"error_feedback": True})
    run = small_run(workers=4, participation=0.5, algorithm=algorithm, compression=compression)
    whole, parts = cut_short(train_here, run, 22)
    assert table(whole).equals(table(parts))
    assert table(whole, "rounds.csv").equals(table(parts, "rounds.csv"))


def test_a_plan_says_that_downloads_come_on_top(prsgd: Command) -> None:
    keys = ("data=digits", "model=mlp", "workers=4", "--dry-run")
    told = " ".join(prsgd("train", *keys, "participation=0.5").stdout.split())
    assert re.search(r"sent [\d.]+ MB, downloads not counted", told)
    assert "downloads" not in prsgd("train", *keys).stdout


def test_the_idle_keep_what_their_messages_left_out() -> None:
    """With everything sent, coded rounds follow the reference; with less, e_i stays while idle."""
    from prsgd.distributed.compression import TopK

    case = Case(METHODS["prsgd"], CASES["prsgd"].reference, (), workers=N)
    workers = network(case)
    workers.compress(TopK(error_feedback=True, ratio=1.0), 0)
    wanted = np.stack([*sampled("prsgd", workers.x[0].double().numpy(), "")])
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[: STEPS - 1]
    np.testing.assert_allclose(found, wanted[: STEPS - 1], atol=3e-5)

    workers = network(case)
    workers.compress(TopK(error_feedback=True, ratio=0.2), 0)
    e, before = workers.per_worker("compression/residual_restart0"), None
    for t, _ in enumerate(play(case, workers), 1):
        if t % EVERY == 0 and t < STEPS:
            some = drawn(0, t // EVERY, N, S)
            others = [i for i in range(N) if i not in some]
            if before is not None:
                assert torch.equal(e[others], before[others])
                assert not torch.equal(e[some], before[some])
            before = e.clone()


# groups ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", [{}, HEAVY], ids=["plain", "momentum"])
def test_pairs_between_rounds_are_hierarchical(optimiser: dict[str, Any]) -> None:
    cases = [
        Case(algorithm, CASES["prsgd"].reference, (), workers=4, optimiser=optimiser)
        for algorithm in (PRSGD(12, groups={2: 3}), Hierarchical({2: 3, 4: 12}))
    ]
    ends = [np.stack([x.numpy().copy() for x in play(case, network(case))]) for case in cases]
    assert np.array_equal(*ends)


def test_an_outer_step_follows_averages_of_pairs() -> None:
    case = Case(DiLoCo(12, 0.7, 0.9, groups={2: 3}), CASES["prsgd"].reference, (), workers=4)
    workers = network(case)
    x = np.tile(workers.x[0].double().numpy(), (4, 1))
    point, m = x[0].copy(), 0 * x[0]
    found = [rows.numpy().copy() for rows in play(case, workers)]
    for t in range(1, STEPS):
        x = x - lr(t) * np.stack([net_gradient(row, i, t - 1)[0] for i, row in enumerate(x)])
        if t % 12 == 0:
            delta = point - x.mean(0)
            m = 0.9 * m + delta
            point = point - 0.7 * (delta + 0.9 * m)
            x = np.tile(point, (4, 1))
        elif t % 3 == 0:
            x = x.reshape(2, 2, -1).mean(1).repeat(2, 0)
        np.testing.assert_allclose(found[t - 1], x, atol=3e-5)


def test_groups_are_counted_apart(prsgd: Command, tmp_path: Path) -> None:
    """Pairs at whole precision, and what crosses between them coded."""
    keys = ("algorithm=diloco", "groups={2: 2, 3: 1}", "compression=int8")
    shown = prsgd("train", "data=digits", "workers=6", *keys, "--dry-run")
    assert "algorithm=diloco: groups: 2 workers or more, whole groups make" in shown.stderr
    keys = ("algorithm=diloco", "groups={2: 2}", "compression=int8")
    folder = same_on_any_processes(prsgd, tmp_path, *keys)
    rounds = numbers(folder, "rounds.csv")
    pairs = rounds[rounds["group"] == 2]
    assert pairs["step"].tolist() == [t for t in range(1, 21) if t % 4 == 2]
    assert pairs["payload_bytes"].iloc[0] > 3.9 * rounds["payload_bytes"].iloc[1]
    config = {k: v for k, v in RunFolder(folder).config().items() if k in Run.__dataclass_fields__}
    planned = build_run(config)
    sizes = [own.numel() for own in load_file(folder / "model.safetensors").values()]
    counted = communication(planned, planned.samples(), sizes)
    assert counted.group_payload_bytes == numbers(folder)["group_payload_bytes"].iloc[-1]


# unequal steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("local_steps", [[3, 2, 1], [5, 5, 1], [2, 2, 2]])
def test_equal_weights_follow_fednova(local_steps: list[int]) -> None:
    """x <- x - mean_j(Γ_j) mean_i((x - x_i) / Γ_i), where Γ_i sums the rates of i's steps."""
    case = Case(
        HeterogeneousPRSGD(local_steps=local_steps, weights="equal"),
        CASES["prsgd"].reference,
        (),
        rate=lambda t: 0.2 / t**0.5,
    )
    workers = network(case)
    point, draws = workers.x[0].double().numpy(), [0, 0, 0]
    found, most = [x.numpy().copy() for x in play(case, workers)], max(local_steps)
    for r in range(STEPS // most):
        changes, rates = [], []
        for i, steps in enumerate(local_steps):
            x, gamma = point.copy(), [case.lr(r * most + k) for k in range(1, steps + 1)]
            for rate in gamma:
                x = x - rate * net_gradient(x, i, draws[i])[0]
                draws[i] += 1
            changes.append((point - x) / sum(gamma))
            rates.append(sum(gamma))
        point = point - np.mean(rates) * np.mean(changes, 0)
        np.testing.assert_allclose(found[(r + 1) * most - 1], np.tile(point, (3, 1)), atol=3e-5)


def test_equal_weights_lead_to_the_plain_optimum() -> None:
    """On different f_i without noise; with weights=steps it is the optimum of sum_i I_i f_i."""
    local_steps, problem = [8, 8, 4, 2], different_hessians(4, sigma=0.0, dimension=1)
    weighted, plain = problem.optimum(np.array(local_steps)), problem.optimum()
    apart = abs(weighted - plain).item()
    for weights, optimum in (("steps", weighted), ("equal", plain)):
        workers = ProblemWorkers(problem, np.ones((1, 1)), 4, 0)
        algorithm = HeterogeneousPRSGD(local_steps=local_steps, weights=weights)
        trace = run(workers, algorithm, 8 * 4000, 5e-4)
        assert abs(trace.centre - optimum).item() < 0.02 * apart, weights


def test_no_rate_is_no_step() -> None:
    """A warm-up that begins at 0 divides by nothing."""
    algorithm = HeterogeneousPRSGD(local_steps=[2, 1, 1], weights="equal")
    case = Case(algorithm, CASES["prsgd"].reference, (), rate=lambda t: 0.0)
    workers = network(case)
    x0 = workers.x.clone()
    for x in play(case, workers):
        torch.testing.assert_close(x, x0)


# refusals ----------------------------------------------------------------------------------------

REFUSED = {
    "participation=0": "participation=0.0: must be a number above 0 and at most 1",
    "participation=1.5": "participation=1.5: must be a number above 0 and at most 1",
    "participation=0.5 algorithm=qsr": (
        "participation=0.5: algorithm=qsr is not made of rounds that have participation"
    ),
    "workers=4 participation=0.5 algorithm=prsgd_heterogeneous local_steps=[1,1,1,2]": (
        "participation=0.5: algorithm=prsgd_heterogeneous is not made of rounds that have "
        "participation"
    ),
    "participation=0.5 fragments=2": "participation=0.5: must be left out with fragments=2",
    "participation=0.5 delay=2 merge=0.5": "participation=0.5: must be left out with delay=2",
    "participation=0.5 algorithm.order=literal": (
        "algorithm=prsgd: order=literal has no fragments, delay, merge, participation, groups"
    ),
    "participation=0.5 optimiser=adamw": (
        "momentum_at_sync=average: must be keep or reset with optimiser=adamw and "
        "participation=0.5, as its steps are counted for each worker"
    ),
    "groups={2:2} participation=0.5": "participation=0.5: must be left out with groups={2: 2}",
    "groups={2:2} fragments=2": "groups={2: 2}: must be left out with fragments=2",
    "groups={2:2} algorithm=scaffold momentum=0": (
        "algorithm=scaffold: has no groups, as a mean of y_i says nothing of a worker's own "
        "gradients"
    ),
    "groups={3:2}": (
        "algorithm=prsgd: groups: 2 workers or more, whole groups make a larger one and all 4"
    ),
    "groups={4:2}": (
        "algorithm=prsgd: groups: 2 workers or more, whole groups make a larger one and all 4"
    ),
    "groups={2:16} interval=8": (
        "algorithm=prsgd: groups: those of 2 never average on their own, as 16 is a multiple of "
        "interval=8"
    ),
    "local_steps=[8,4,2,1]": (
        "local_steps=[8, 4, 2, 1]: needs algorithm=prsgd_heterogeneous, not prsgd"
    ),
    "groups={2:2} algorithm=qsr": (
        "groups={2: 2}: algorithm=qsr is not made of rounds that have groups"
    ),
    "algorithm=prsgd_heterogeneous local_steps=[1,1,1,2] algorithm.weights=equal momentum=0.9": (
        "algorithm=prsgd_heterogeneous: corrects steps of plain SGD; it needs optimiser=sgd and "
        "momentum=0"
    ),
    "algorithm=prsgd_heterogeneous local_steps=[1,1,1,2] algorithm.weights=data": (
        "algorithm.weights=data: must be one of steps, equal"
    ),
}


@pytest.mark.parametrize("keys", REFUSED)
def test_refusals(keys: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(*keys.split())
    assert str(caught.value) == REFUSED[keys]


def test_the_warning_of_unequal_steps_knows_the_weights() -> None:
    for weights, words in (("steps", "not of the plain one (weights=equal does)"), ("equal", "")):
        algorithm = HeterogeneousPRSGD(local_steps=[1, 2, 3], weights=weights)
        info = Case(algorithm, CASES["prsgd"].reference, ()).info
        different = type(info)(**vars(info) | {"iid": False})
        assert algorithm.warning(different).endswith(words)
        assert bool(algorithm.warning(different)) == bool(words)
