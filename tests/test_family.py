"""The local-SGD family: every method against its reference, the identities, and what it keeps."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import family
import numpy as np
import pytest
import torch
from conftest import numbers, part, small_run
from family import CASES, DROP, PER_EPOCH, STEPS, Case, lr, net_gradients, network, play

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.hierarchical import Hierarchical
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.minibatch import MiniBatchSGD
from prsgd.algorithms.outer import Outer
from prsgd.algorithms.post_local import PostLocalSGD
from prsgd.algorithms.qsr import QSR
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.scaffold import Scaffold
from prsgd.algorithms.slowmo import SlowMo
from prsgd.algorithms.vrl_sgd import VRLSGD
from prsgd.cost.counter import CommCounter
from prsgd.distributed.rounds import close_rounds
from prsgd.errors import UserError
from prsgd.theory.problems import different_hessians
from prsgd.theory.workers import ProblemWorkers, run

BOTH = pytest.mark.parametrize("reduction", ["fast", "exact"])


def expected(case: Case, x0: np.ndarray, grads: family.Grads) -> np.ndarray:
    """(STEPS + 1, N, d)."""
    x = np.tile(x0, (case.workers, 1))
    return np.stack(list(case.reference(x, grads, *case.arguments)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_follows_its_reference_on_a_network(case: Case) -> None:
    workers = network(case)
    reference = expected(case, workers.x[0].double().numpy(), net_gradients)
    found = np.stack([x.numpy().copy() for x in play(case, workers)])
    np.testing.assert_allclose(found, reference, atol=1e-5)
    assert np.ptp(reference, 1).max() > 1e-2  # workers do drift apart


def with_noise(case: Case) -> tuple[ProblemWorkers, family.Grads]:
    """P2 with its workers, and the same noise for the reference."""
    problem, noise = different_hessians(case.workers, sigma=1.0), np.random.default_rng(3)

    def grads(x: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        losses = (problem.h[:, 0] * (x - problem.b[:, 0]) ** 2).sum(1) / 2
        return problem.sample(x[:, None], noise)[:, 0], losses

    momentum = case.keys.momentum
    return ProblemWorkers(problem, np.ones((1, 10)), case.workers, 3, momentum), grads


PLAIN = {n: c for n, c in CASES.items() if n not in ("prsgd_nesterov", "diloco_adamw")}


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_follows_its_reference_on_quadratics(case: Case) -> None:
    """P2 in float64."""
    workers, grads = with_noise(case)
    reference = expected(case, np.ones(10), grads)
    found = np.stack([x[:, 0].copy() for x in play(case, workers)])
    np.testing.assert_allclose(found, reference, atol=1e-12)


def test_references_are_short_and_tell_methods_apart() -> None:
    for case in CASES.values():
        assert len(inspect.getsource(case.reference).splitlines()) <= 16  # with the def
    x0 = np.linspace(-1, 1, network(CASES["prsgd"]).x.shape[1])
    ends = [expected(case, x0, net_gradients)[-1][0] for case in CASES.values()]
    gaps = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(gaps) > 1e-4


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return by_torchrun(tmp_path_factory.mktemp("ranks"), 2, *CASES)


def by_torchrun(folder: Path, processes: int, *cases: str) -> dict[str, list[dict[str, Any]]]:
    """What each process kept of each case."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={processes}", family.__file__, str(folder), *cases),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return {
        name: [
            torch.load(folder / f"{name}-{rank}.pt", weights_only=False)
            for rank in range(processes)
        ]
        for name in (f"{case}-{kind}" for case in cases for kind in ("fast", "exact"))
    }


@pytest.mark.dist
@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("name", CASES)
def test_two_processes_follow_the_reference_too(
    two_processes: dict[str, list[dict[str, Any]]], name: str, reduction: str
) -> None:
    """N = 3 as 1 and 2 rows; N = 6 in pairs, of which one lies across the processes."""
    case, ranks = CASES[name], two_processes[f"{name}-{reduction}"]
    assert [len(rank["hosted"]) for rank in ranks] == ([3, 3] if case.workers == 6 else [1, 2])
    alone = network(case, reduction=reduction)
    reference = expected(case, alone.x[0].double().numpy(), net_gradients)
    found = np.concatenate([rank["x"].numpy() for rank in ranks], 1)
    np.testing.assert_allclose(found, reference, atol=1e-5)
    if reduction == "exact":
        here = np.stack([x.numpy().copy() for x in play(case, alone)])
        assert np.array_equal(found, here)
    else:
        list(play(case, alone))
    close_rounds(alone.ledger, alone.communicator)
    counted = {k: v for k, v in vars(alone.ledger).items() if k in ranks[0]["ledger"]}
    assert [rank["ledger"] for rank in ranks] == [counted, counted]


@pytest.mark.parametrize("size", [2, 3])
def test_a_mean_within_a_group_hides_no_nan(size: int) -> None:
    """And groups have to be whole."""
    workers = network(CASES["hierarchical"], reduction="exact")
    workers.x[1] = torch.nan
    workers.average("keep", size)
    assert workers.x[:size].isnan().all()
    assert workers.x[size:].isfinite().all()
    with pytest.raises(ValueError, match="6 workers cannot be put in groups of 4"):
        workers.average("keep", 4)


@pytest.mark.dist
@pytest.mark.slow
def test_groups_on_uneven_processes(tmp_path: Path) -> None:
    """N = 6 on P = 4 as 1, 2, 1, 2 rows: two of the processes belong to two pairs each."""
    ranks = by_torchrun(tmp_path, 4, "hierarchical")["hierarchical-exact"]
    assert [len(rank["hosted"]) for rank in ranks] == [1, 2, 1, 2]
    found = np.concatenate([rank["x"].numpy() for rank in ranks], 1)
    alone = network(CASES["hierarchical"], reduction="exact")
    here = np.stack([x.numpy().copy() for x in play(CASES["hierarchical"], alone)])
    assert np.array_equal(found, here)


# what each sends ---------------------------------------------------------------------------------

SENT = {  # rounds in 200 steps, and vectors in all of them
    "prsgd": (29, 29),
    "prsgd_momentum": (29, 58),
    "prsgd_nesterov": (29, 58),
    "post_local_drop": (120 + 12, 120 + 12),
    "post_local_steps": (40 + 23, 40 + 23),
    "post_local_epochs": (25 + 25, 25 + 25),
    "hierarchical": (17, 17),
    "slowmo": (29, 29),
    "diloco": (29, 29),
    "diloco_adamw": (29, 29),
    "outer_adam": (29, 29),
    "qsr": (14 + 1, 14 + 1),
    "easgd": (29, 29),
    "vrl_sgd": (29, 29),
    "scaffold": (29, 58),
}


@pytest.mark.parametrize("name", SENT)
def test_the_ledger_counts_what_is_sent(name: str) -> None:
    """By a run, and beforehand by a counter."""
    case, (rounds, vectors) = CASES[name], SENT[name]
    workers = network(case)
    for _ in play(case, workers):
        pass
    close_rounds(workers.ledger, workers.communicator)
    ledger, size = workers.ledger, workers.x.shape[1]
    assert (ledger.rounds, ledger.payload_bytes) == (rounds, 4 * size * vectors)
    counter = CommCounter([size], case.workers, len(workers.optimizer.moments))
    counter.run(case.algorithm, case.info)
    assert (counter.rounds, counter.payload_bytes) == (rounds, 4 * size * vectors)
    assert not counter.guessed
    inner = 66 - 16 if name == "hierarchical" else 0  # t divisible by 3 but not by 12
    assert (ledger.group_rounds, ledger.group_payload_bytes) == (inner, 4 * size * inner)
    assert (counter.group_rounds, counter.group_payload_bytes) == (inner, 4 * size * inner)


def test_adacomm_is_charged_for_its_losses() -> None:
    """8 bytes each, and no round; how many rounds there will be depends on them."""
    case = CASES["adacomm"]
    workers = network(case)
    asked, was = 0, workers.mean_loss
    steps = [0]

    def mean_loss() -> float:
        nonlocal asked
        asked += 1
        return was()

    workers.mean_loss = mean_loss
    for t, _ in enumerate(play(case, workers), 1):
        if len(workers.ledger.open) == len(steps):
            steps.append(t)
    lengths = np.diff(steps)
    assert lengths[0] == 16
    assert (np.diff(lengths[:-1]) <= 0).all()
    assert lengths[-2] < 4
    close_rounds(workers.ledger, workers.communicator)
    sent = workers.ledger
    assert sent.payload_bytes == 4 * workers.x.shape[1] * sent.rounds + 8 * asked
    assert 5 <= asked <= 1 + STEPS // PER_EPOCH
    counter = CommCounter([1], 3)
    counter.run(case.algorithm, case.info)
    assert counter.guessed


# identities --------------------------------------------------------------------------------------


def on_the_network(algorithm: Algorithm, rate: Callable[[int], float]) -> np.ndarray:
    case = Case(algorithm, family.prsgd, (), rate=rate)
    return np.stack([x.numpy().copy() for x in play(case, network(case))])


def constant(t: int) -> float:
    return 0.1


@pytest.mark.parametrize(
    ("special", "general", "rate"),
    [
        (PRSGD(7), SlowMo(7, beta=0.0, alpha=1.0), lr),
        (PRSGD(7), Hierarchical({3: 7}), lr),
        (PRSGD(7), DiLoCo(7, outer_lr=1.0, outer_momentum=0.0), lr),
        (PRSGD(7), Outer(7, "sgd", outer_lr=1.0, outer_momentum=0.0), lr),
        (DiLoCo(7, 0.7, 0.9), Outer(7, "nesterov", 0.7, 0.9), lr),
        (SlowMo(7, 0.5, 0.9), Outer(7, "sgd", 0.9, 0.5), constant),
        (PRSGD(7), QSR(3, alpha=0.1 * 7.5**0.5), constant),
        (MiniBatchSGD(), PostLocalSGD(7, "steps", STEPS), lr),
        (MiniBatchSGD(), PostLocalSGD(7, "drop"), constant),
        (PRSGD(7), PostLocalSGD(7, "steps", 0.4), lr),
        (VRLSGD(7), Scaffold(7, global_lr=1.0), lr),
    ],
    ids=lambda part: getattr(part, "__name__", repr(part)),
)
def test_one_method_is_a_case_of_another(
    special: Algorithm, general: Algorithm, rate: Callable[[int], float]
) -> None:
    found, as_special = on_the_network(general, rate), on_the_network(special, rate)
    np.testing.assert_allclose(found, as_special, atol=1e-5)
    other = on_the_network(PRSGD(6), rate)
    assert np.abs(found - other).max() > 1e-3


def test_one_worker_is_lookahead() -> None:
    """Slow weights go half of the way to the fast ones, every seven steps."""
    case = Case(Outer(7, "sgd", outer_lr=0.5, outer_momentum=0.0), family.prsgd, (), workers=1)
    workers = network(case)
    slow = fast = workers.x[0].double().numpy()
    for t, x in enumerate(play(case, workers), 1):
        if t > STEPS:
            break
        fast = fast - lr(t) * net_gradients(fast[None], t)[0][0]
        if t % 7 == 0 or t == STEPS:
            slow = fast = slow + 0.5 * (fast - slow)
        np.testing.assert_allclose(x[0].numpy(), fast, atol=1e-5)


def test_keys_that_an_outer_optimiser_does_not_read_say_nothing() -> None:
    assert Outer(7, "sgd", outer_beta2=0.5, outer_eps=1.0) == Outer(7, "sgd")
    assert Outer(7, "adam", outer_beta2=0.5) != Outer(7, "adam")


def test_vrl_sgd_reaches_the_optimum_that_prsgd_misses() -> None:
    """P2 without noise, different Hessians."""
    problem = different_hessians(4, sigma=0.0)

    def gap(algorithm: Algorithm) -> float:
        workers = ProblemWorkers(problem, np.ones((1, 10)), 4, 0)
        centre = run(workers, algorithm, 4000, 0.1).centre
        return float(np.abs(centre - problem.optimum()).max())

    assert gap(PRSGD(16)) > 0.1
    assert gap(VRLSGD(16)) < 1e-10
    assert gap(Scaffold(16)) < 1e-10


# rules of their own ------------------------------------------------------------------------------


def test_qsr_follows_the_square_of_the_learning_rate() -> None:
    """And keeps the peak's H while the learning rate still rises."""
    rates = [0.1, 0.2, 0.3, *[0.4] * 4, *[0.2] * 12, *[0.1] * 20]
    info = RunInfo(3, len(rates), 10, lambda t: rates[t - 1])
    counter, ends = CommCounter([1], 3), []
    algorithm = QSR(interval=2, alpha=0.6)
    algorithm.begin(info, counter)
    for t, rate in enumerate(rates, 1):
        before = counter.rounds
        algorithm.step(t, rate, counter)
        ends += [t] * (counter.rounds - before)
    assert ends == [2, 4, 6, 8, 17, 26]  # the rounds of 9 and 18 begin at 0.2, with 9 steps
    algorithm.finish(len(rates), rates[-1], counter)


def test_easgd_returns_its_centre(train_here: Any) -> None:
    """With beta = 1 that is x̄ after each exchange; with a small one it lags behind."""
    ends = {}
    for beta in (1.0, 0.01):
        run = small_run(algorithm=part("easgd", beta=beta, interval=5))
        ends[beta] = numbers(train_here(run, str(beta))[1])["consensus_train_loss"].iloc[-1]
    start = numbers(train_here(small_run(epochs=0.1), "start")[1])["consensus_train_loss"].iloc[0]
    assert ends[1.0] < ends[0.01] < start


def test_inner_rounds_are_recorded_apart(train_here: Any) -> None:
    run = small_run(workers=4, batch_size=2, algorithm=part("hierarchical", levels={2: 4, 4: 8}))
    _, folder = train_here(run)
    metrics, rounds = numbers(folder), numbers(folder, "rounds.csv")
    assert list(rounds["group"]) == [2, 4] * 5
    assert list(rounds["step"]) == list(range(4, 44, 4))
    assert list(metrics["round"]) == [0, 2, 5]
    assert list(metrics["group_round"]) == [0, 3, 5]
    size = rounds["payload_bytes"].iloc[0]
    assert list(metrics["payload_bytes"]) == [0, 2 * size, 5 * size]
    assert list(metrics["group_payload_bytes"]) == [0, 3 * size, 5 * size]


def test_post_local_says_if_it_never_switches(
    train_here: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train_here(small_run(algorithm=part("post_local")))
    warning = "it never switches: this is mini-batch SGD to the end"
    assert warning in capsys.readouterr().out
    drops = {"_target_": "prsgd.schedule.StepDrops"}
    train_here(small_run(algorithm=part("post_local"), schedule=drops), "drops")
    assert "mini-batch SGD until step 20, then local" in capsys.readouterr().out


def refusals() -> Iterator[tuple[dict[str, Any], str]]:
    three, two = "levels must end with all workers, as in {6: 16}", "algorithm=hierarchical: "
    six = {"workers": 6}
    yield {**six, "algorithm": part("hierarchical")}, two + three
    yield {**six, "algorithm": part("hierarchical", levels={2: 4})}, two + three
    yield (
        {**six, "algorithm": part("hierarchical", levels={4: 2, 6: 8})},
        two + "levels: groups of 2 or more, made of whole groups of the one before: [4, 6]",
    )
    yield (
        {**six, "algorithm": part("hierarchical", levels={1: 2, 6: 8})},
        two + "levels: groups of 2 or more, made of whole groups of the one before: [1, 6]",
    )
    yield (
        {"schedule": {"_target_": "prsgd.schedule.StepDrops", "factor": 0}},
        "schedule.factor=0.0: must be a number above 0, and at most 1",
    )
    yield (
        {**six, "algorithm": part("hierarchical", levels={2: 0, 6: 8})},
        "algorithm.levels={2: 0, 6: 8}: must be {group size: interval, ...} up to all workers, "
        "as in {2: 4, 8: 16}",
    )
    for name, target in (("vrl_sgd", "vrl"), ("scaffold", "scaffold")):
        for keys in ({"momentum": 0.9}, {"optimiser": "adamw"}):
            yield (
                {**keys, "algorithm": part(target)},
                f"algorithm={name}: corrects steps of plain SGD; it needs optimiser=sgd and "
                "momentum=0",
            )
    yield (
        {"optimiser": "adamw", "momentum": 0.9},
        "momentum=0.9: must be 0 with optimiser=adamw; it has its betas",
    )
    yield (
        {"optimiser": "adamw", "betas": [0.9, 1.0]},
        "betas=[0.9, 1.0]: must be two numbers from 0 up to but not including 1",
    )
    yield {"optimiser": "lion"}, "optimiser=lion: must be one of sgd, adamw"
    yield (
        {"algorithm": part("post_local", switch="never")},
        "algorithm.switch=never: must be one of drop, epochs, steps",
    )


@pytest.mark.parametrize(("keys", "message"), list(refusals()))
def test_impossible_values(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        small_run(**keys)
    assert str(refusal.value) == message


def test_no_algorithm_takes_more_than_sixty_lines() -> None:
    folder = Path(inspect.getfile(PRSGD)).parent
    lengths = {path.name: len(path.read_text().splitlines()) for path in folder.glob("*.py")}
    assert len(lengths) > 15
    assert max(lengths.values()) <= 60, lengths


def test_when_post_local_switches() -> None:
    info = CASES["prsgd"].info
    assert PostLocalSGD().last(info) == DROP
    assert PostLocalSGD(7, "epochs", 2.5).last(info) == round(2.5 * PER_EPOCH)
    assert PostLocalSGD().last(RunInfo(3, STEPS, PER_EPOCH, constant)) == STEPS
