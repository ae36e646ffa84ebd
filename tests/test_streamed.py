"""Rounds in fragments, and means that arrive late: schedules, references, and what is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, cut_short, part, same_on_any_processes, small_run, table
from family import (
    CASES,
    CLASSES,
    FEATURES,
    HIDDEN,
    STEPS,
    Case,
    Grads,
    lr,
    net_gradients,
    network,
    play,
)

from prsgd.algorithms.averaging import AveragesModels
from prsgd.algorithms.diloco import DiLoCo
from prsgd.algorithms.info import Array, Part
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.scaffold import Scaffold
from prsgd.algorithms.slowmo import SlowMo
from prsgd.algorithms.streamed import Streamed
from prsgd.cost.counter import CommCounter
from prsgd.distributed.burst import Burst
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.compression import TopK
from prsgd.distributed.fragments import cut
from prsgd.distributed.late import Late
from prsgd.distributed.rounds import close_rounds
from prsgd.errors import UserError
from prsgd.training.calibrate import Repeated
from prsgd.training.setup import build_workers

SIZES = [HIDDEN * FEATURES, HIDDEN, CLASSES * HIDDEN, CLASSES]  # of the network's parameters
D = sum(SIZES)

# fragments ---------------------------------------------------------------------------------------


def test_the_largest_fragment_is_as_small_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        sizes = rng.integers(1, 30, rng.integers(1, 8)).tolist()
        for count in range(1, len(sizes) + 1):
            parts = cut(sizes, count)
            borders = [0, *np.cumsum(sizes).tolist()]
            ends = [part.stop for part in parts]
            assert [part.start for part in parts] == [0, *ends[:-1]]
            assert ends[-1] == sum(sizes)
            assert set(ends) <= set(borders[1:])
            assert len(parts) == count
            largest = max(part.stop - part.start for part in parts)
            assert largest == min(map(max, _all_cuts(sizes, count)))


def _all_cuts(sizes: list[int], count: int) -> Iterator[list[int]]:
    if count == 1:
        yield [sum(sizes)]
        return
    for first in range(1, len(sizes) - count + 2):
        for rest in _all_cuts(sizes[first:], count - 1):
            yield [sum(sizes[:first]), *rest]


def test_a_fragment_holds_a_parameter_at_least(prsgd: Command) -> None:
    with pytest.raises(UserError) as caught:
        cut([5, 5], 3)
    line = "fragments=3: must be at most 2, the parameter tensors of this model"
    assert str(caught.value) == line
    shown = prsgd("train", "data=digits", "model=mlp", "fragments=99", "--dry-run")
    assert shown.returncode == 2
    assert "fragments=99: must be at most 4, the parameter tensors of this model" in shown.stderr


# references --------------------------------------------------------------------------------------


def reference(
    method: str, x: np.ndarray, grads: Grads, interval: int, F: int, delay: int, merge: float | str
) -> Iterator[np.ndarray]:
    """x (N, D) after every step, and at the end: each fragment by itself, as it is defined."""
    parts = cut(SIZES, F)
    point, m, c, c_i = x[0].copy(), 0 * x[0], 0 * x[0], 0 * x
    sent: dict[int, Any] = {}  # by fragment: what its messages held
    arrived: dict[int, int] = {}  # and the step in which they were used last
    rates: list[list[float]] = [[] for _ in parts]  # of the steps between `point` and x

    def send(f: int) -> tuple[np.ndarray, np.ndarray, int]:
        cols = parts[f]
        if method == "scaffold":
            c_i[:, cols] += (point[cols] - x[:, cols]) / sum(rates[f]) - c[cols]
        return x[:, cols].copy(), c_i[:, cols].copy(), len(rates[f])

    def receive(f: int, message: tuple[np.ndarray, np.ndarray, int]) -> None:
        cols, (then, controls, count) = parts[f], message
        if method == "prsgd":
            point[cols] = then.mean(0)
        elif method == "diloco":
            delta = point[cols] - then.mean(0)
            m[cols] = 0.9 * m[cols] + delta
            point[cols] -= 0.7 * (delta + 0.9 * m[cols])
        else:
            point[cols] += 0.8 * (then.mean(0) - point[cols])
            c[cols] = controls.mean(0)
        now = x[:, cols].copy()
        if merge == "progress":
            x[:, cols] = point[cols] + (now - then)
            rates[f] = rates[f][count:]
        else:
            x[:, cols] = merge * now + (1 - merge) * point[cols]
            rates[f] = [merge * rate for rate in rates[f]]

    for t in range(1, STEPS + 1):
        x = x - lr(t) * (grads(x, t)[0] - c_i + c)
        for f in range(F):
            rates[f].append(lr(t))
            if f in sent and t - sent[f][0] == delay:
                receive(f, sent.pop(f)[1])
                arrived[f] = t
            if t % interval == ceil((f + 1) * interval / F) % interval:
                sent[f] = t, send(f)
            if delay == 0 and f in sent:
                receive(f, sent.pop(f)[1])
        if t < STEPS:
            yield x
    for f in range(F):
        fresh = STEPS % interval == ceil((f + 1) * interval / F) % interval
        if f in sent:
            receive(f, sent.pop(f)[1])
            arrived[f] = STEPS
        if not fresh and not (arrived.get(f) == STEPS and merge == 0):
            receive(f, send(f))
    yield x


METHODS: dict[str, type[Streamed]] = {"prsgd": PRSGD, "diloco": DiLoCo, "scaffold": Scaffold}
SETTINGS = [
    *product((1, 2, 4), (0,), (0.0,)),
    *product((1, 4), (0,), (0.5,)),
    *product((1, 3), (1, 5), (0.0, 0.5, "progress")),
    *product((1, 4), (7,), (0.5, "progress")),
]


def built(method: str, F: int, delay: int, merge: float | str, **more: Any) -> Case:
    keys = {"fragments": F, "delay": delay, "merge": merge, **more}
    keys |= {"global_lr": 0.8} if method == "scaffold" else {}
    return Case(METHODS[method](7, **keys), CASES["prsgd"].reference, ())


@pytest.mark.parametrize(("F", "delay", "merge"), SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_follows_its_reference(method: str, F: int, delay: int, merge: float | str) -> None:
    """200 steps in rounds of 7, so that the end cuts one short."""
    if method == "scaffold" and delay == 7:
        pytest.skip("corrections that are two rounds old diverge")
    case = built(method, F, delay, merge)
    assert case.algorithm.check(3) == ""
    workers = network(case)
    x0 = np.tile(workers.x[0].double().numpy(), (3, 1))
    wanted = np.stack(list(reference(method, x0, net_gradients, 7, F, delay, merge)))
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[:-1]
    np.testing.assert_allclose(found, wanted, atol=3e-5)
    assert np.ptp(wanted, 1).max() > 1e-2


@pytest.mark.parametrize("steps", [2, 7, 8, 12, 14])
@pytest.mark.parametrize("merge", [0.0, 0.5, "progress"])
def test_runs_may_end_anywhere(
    steps: int, merge: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything was sent, while something is under way, and where rounds end."""
    monkeypatch.setattr("family.STEPS", steps)
    monkeypatch.setattr("test_streamed.STEPS", steps)
    case = built("prsgd", 3, 4, merge)
    workers = network(case)
    x0 = np.tile(workers.x[0].double().numpy(), (3, 1))
    wanted = np.stack(list(reference("prsgd", x0, net_gradients, 7, 3, 4, merge)))
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[:-1]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    if merge == 0:
        assert np.ptp(found[-1], 0).max() == 0, "all workers end at one point"


@dataclass
class Plain(AveragesModels, Rounds):
    """Algorithm 1 in rounds that know no fragments."""

    name = title = "plain"


@pytest.mark.parametrize("merge", [0.0, "progress"])
def test_one_fragment_in_time_is_the_plain_method(merge: float | str) -> None:
    plain = Case(Plain(7), CASES["prsgd"].reference, (), optimiser={"momentum": 0.9})
    streamed = Case(PRSGD(7, merge=merge), plain.reference, (), optimiser={"momentum": 0.9})
    ends = [np.stack([x.numpy().copy() for x in play(c, network(c))]) for c in (plain, streamed)]
    assert np.array_equal(*ends)


def test_cocod_sgd_is_a_setting() -> None:
    """A round of I steps from x_i; its average comes at the end of the next: x̄ + what i did."""
    case, grads = built("prsgd", 1, 7, "progress"), net_gradients
    workers = network(case)
    x = np.tile(workers.x[0].double().numpy(), (3, 1))
    start = None
    found = np.stack([rows.numpy().copy() for rows in play(case, workers)])
    for t in range(1, STEPS):
        x = x - lr(t) * grads(x, t)[0]
        if t % 7 == 0:
            x = x if start is None else start.mean(0) + x - start
            start = x.copy()
        np.testing.assert_allclose(found[t - 1], x, atol=1e-5)


def test_every_fragment_sends_differences() -> None:
    """With all of them sent, compressed rounds follow the reference too."""
    case = built("diloco", 3, 2, 0.5)
    workers = network(case)
    workers.compress(TopK(error_feedback=True, ratio=1.0), 0)
    x0 = np.tile(workers.x[0].double().numpy(), (3, 1))
    wanted = np.stack(list(reference("diloco", x0, net_gradients, 7, 3, 2, 0.5)))
    found = np.stack([x.numpy().copy() for x in play(case, workers)])[:-1]
    np.testing.assert_allclose(found, wanted, atol=3e-5)


@pytest.mark.parametrize("at_sync", ["average", "reset"])
def test_moments_are_averaged_fragment_by_fragment(at_sync: str) -> None:
    case = Case(
        PRSGD(6, fragments=2, momentum_at_sync=at_sync),
        CASES["prsgd"].reference,
        (),
        optimiser={"momentum": 0.9},
    )
    workers = network(case)
    first, second = cut(SIZES, 2)
    for t, _ in enumerate(play(case, workers), 1):
        m = workers.optimizer.moments["m"]
        for cols, due in ((first, 3), (second, 0)):
            if t < STEPS and t % 6 == due:
                assert bool((m[:, cols] == (m[0, cols] if at_sync == "average" else 0)).all())
            elif t < STEPS and t % 6 == due + 1:
                assert not bool((m[:, cols] == m[0, cols]).all())


# what is sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("F", "delay"), [(1, 0), (3, 0), (4, 2), (2, 5), (4, 6)])
def test_fragments_add_up_to_the_whole(F: int, delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a run, and beforehand by a counter; the burst by hand."""
    steps, interval = 42, 6
    monkeypatch.setattr("family.STEPS", steps)
    algorithm = PRSGD(interval, fragments=F, delay=delay, merge=0.5)
    case = Case(algorithm, CASES["prsgd"].reference, ())
    counter = CommCounter(SIZES, 3)
    counter.run(algorithm, case.info)
    rounds, moving = [], np.zeros(2 * steps)
    for f, fragment in enumerate(cut(SIZES, F), 1):
        size, first = 4 * (fragment.stop - fragment.start), ceil(f * interval / F)
        sent = [(t, delay) for t in range(first, steps + 1, interval)]
        sent += [(steps, 0)] if sent[-1][0] < steps else []
        rounds += [size] * len(sent)
        for t, late in sent:
            moving[t + min(late, 1) : t + late + 1] += size / max(late, 1)
    if F == 1:
        assert sum(rounds) == 4 * D * steps // interval
    assert counter.rounds == len(rounds)
    assert counter.payload_bytes == sum(rounds)
    assert counter.burst.largest == pytest.approx(moving.max())
    workers = network(case)
    list(play(case, workers))
    close_rounds(workers.ledger, workers.communicator)
    assert workers.ledger.rounds == counter.rounds
    assert workers.ledger.payload_bytes == counter.payload_bytes
    assert workers.ledger.burst == counter.burst


def test_a_burst_is_what_moves_in_one_step() -> None:
    burst = Burst()
    burst.add(1, 100, 0)
    burst.add(1, 50, 0)
    assert burst.largest == 150
    burst.add(2, 400, 4)  # 100 in each of the steps 3..6
    assert burst.largest == 150
    burst.add(4, 400, 4)  # and 100 in 5..8
    assert burst.largest == 200
    burst.add(6, 240, 2)  # and 120 in 7 and 8, where the first is over
    assert burst.largest == 220


# whole runs --------------------------------------------------------------------------------------

RUNS = (
    "algorithm=diloco fragments=3 delay=2 merge=0.5",
    "delay=4 merge=progress",
    "algorithm=scaffold fragments=2 delay=3 compression=int8 compression.error_feedback=true",
    "algorithm=slowmo fragments=4 compression=randomk momentum=0.9",
)


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [RUNS[0], *(pytest.param(keys, marks=pytest.mark.faults) for keys in RUNS[1:])],
    ids=[keys.partition(" ")[0] for keys in RUNS],
)
def test_the_processes_do_not_matter(keys: str, prsgd: Command, tmp_path: Path) -> None:
    folder = same_on_any_processes(prsgd, tmp_path, *keys.split())
    assert np.isfinite(float(table(folder)["consensus_train_loss"].iloc[-1]))


@pytest.mark.parametrize("asked", [30, 31, 33])
@pytest.mark.parametrize("compression", ["none", "int4"])
def test_a_run_resumes_while_means_are_under_way(
    asked: int, compression: str, train_here: Any
) -> None:
    run = small_run(
        algorithm=part("diloco", interval=6, fragments=2, delay=4, merge=0.5),
        **{"fragments": 2, "delay": 4, "merge": 0.5, "interval": 6},
        compression={"name": compression},
        checkpoint_seconds=0,
        epochs=3,
        workers=2,
    )
    whole, cut_run = cut_short(train_here, run, asked)
    assert table(whole).equals(table(cut_run))
    assert table(whole, "rounds.csv").equals(table(cut_run, "rounds.csv"))
    manifest = json.loads(next(iter(whole.checkpoints.glob("*/manifest.json"))).read_text())
    assert len(manifest["counters"]["workers"]["fragments"]) == 2


def test_a_checkpoint_holds_what_has_not_been_used_yet() -> None:
    """Steps from a checkpoint with a mean under way are those that went on."""
    case = built("diloco", 2, 3, "progress")
    whole = network(case)
    steps = play(case, whole)
    for _ in range(9):  # fragment 1 leaves at 4, 11; fragment 2 at 7, for 10
        next(steps)
    assert [columns.scalars.get("late") for columns in whole.fragments(2)] == [None, None]
    whole.settle()
    assert [columns.scalars.get("late") for columns in whole.fragments(2)] == [None, 1]
    again = network(case)
    case.algorithm.begin(case.info, again)
    again.set_counters(json.loads(json.dumps(whole.counters())))
    saved = {name: tensor.clone() for name, tensor in whole.state_tensors().items()}
    for name, tensor in again.state_tensors().items():
        tensor.copy_(saved[name])
    for t in range(10, 25):
        next(steps)
        again.compute_gradients(None)
        case.algorithm.step(t, case.lr(t), again)
        assert torch.equal(whole.x, again.x)


def test_screens_say_what_moves_at_once(prsgd: Command) -> None:
    """Where it is less than a whole round: in the end, and in the plan."""
    small = ("data=synthetic", "data.size=8", "model=mlp", "model.width=32", "epochs=0.5")
    streamed = prsgd("train", *small, "fragments=2", "delay=2", "merge=0.5")
    [burst] = re.findall(r"wire, ([\d.]+ kB) at once", streamed.stdout)
    again = prsgd("train", *small, "fragments=2", "delay=2", "merge=0.5", "--dry-run")
    assert f", {burst} at once" in again.stdout
    assert "at once" not in prsgd("train", *small).stdout


# refusals ----------------------------------------------------------------------------------------

REFUSED = {
    "delay=9": "algorithm=prsgd: delay=9 must be at most interval=8",
    "delay=8": "algorithm=prsgd: delay=8 needs a merge above 0: with 0 every step is thrown away",
    "algorithm=qsr fragments=2": (
        "fragments=2: algorithm=qsr is not made of rounds that have fragments"
    ),
    "algorithm=minibatch delay=1": (
        "delay=1: algorithm=minibatch is not made of rounds that have delay"
    ),
    "merge=0.5 delay=1 compression=topk": (
        "compression.error_feedback=true: must be false with merge=0.5, as a worker's model keeps "
        "what was not sent, and it would be sent twice"
    ),
    "algorithm=easgd compression=randomk": (
        "compression.error_feedback=true: must be false with algorithm=easgd, as a worker's model "
        "keeps what was not sent, and it would be sent twice"
    ),
    "algorithm=easgd merge=0.5": "merge=0.5: algorithm=easgd is not made of rounds that have merge",
    "algorithm.order=literal fragments=2": (
        "algorithm=prsgd: order=literal has no fragments, delay, merge, participation, groups"
    ),
    "fragments=2 algorithm.fragments=3": "fragments=2: must be 3 with algorithm=prsgd",
    "merge=1": "merge=1: must be a number from 0 up to but not including 1, or progress",
    "merge=some": "merge=some: must be a number from 0 up to but not including 1, or progress",
    "delay=-1": "delay=-1: must be a whole number of at least 0",
    "fragments=0": "fragments=0: must be a whole number of at least 1",
    "delay=2 momentum=0.9": (
        "momentum_at_sync=average: must be keep with delay=2; moments that arrive late would undo "
        "steps"
    ),
    "fragments=2 optimiser=adamw momentum_at_sync=reset": (
        "momentum_at_sync=reset: must be keep or average with fragments=2 and optimiser=adamw, "
        "which counts its steps for all parameters together"
    ),
}


@pytest.mark.parametrize("keys", REFUSED)
def test_what_cannot_be_is_refused(keys: str) -> None:
    from prsgd.config.compose import compose

    with pytest.raises(UserError) as caught:
        compose(["data=digits", "model=mlp", *keys.split()])
    assert str(caught.value) == REFUSED[keys]


def test_progress_says_nothing_where_nothing_is_late() -> None:
    """It is no part of a run's name then, nor of its label."""
    from prsgd.config.naming import curve_config

    def keys(**more: Any) -> dict[str, Any]:
        run = small_run(algorithm=part("prsgd", **more), **more)
        return curve_config(run.as_dict())

    assert "algorithm.merge" not in keys(merge="progress")
    assert keys(merge="progress", delay=2)["algorithm.merge"] == "progress"
    assert keys(merge=0.5)["algorithm.merge"] == 0.5


# what goes on beside -----------------------------------------------------------------------------


def test_work_is_done_in_order_and_its_errors_come_back() -> None:
    done: list[int] = []
    cpu = torch.device("cpu")
    late: Late | None = None
    for number in range(20):
        late = Late(lambda number=number: done.append(number) or number, cpu, late)  # type: ignore[misc]
    assert late is not None
    assert late.wait() == 19
    assert done == list(range(20))

    def fail() -> None:
        raise ValueError("lost")

    failed = Late(fail, cpu, late)
    after = Late(lambda: 1, cpu, failed)
    with pytest.raises(ValueError, match="lost"):
        failed.wait()
    assert after.wait() == 1


def test_what_is_under_way_is_kept_until_it_is_here() -> None:
    """A GPU may read the copies of all parts after the thread that launched the work has ended."""
    run = small_run()
    communicator = Communicator(run.workers, "cpu", run.reduction)
    workers = build_workers(run, Repeated(run, communicator.device), communicator, bf16=False)
    workers.compute_gradients()
    sent = [workers.x.clone(), workers.x + 1]
    workers.start_mean(1, Part(workers.x), Part(sent[1]))
    workers.x += 2
    under_way = workers.all._under_way
    assert under_way is not None
    assert all(torch.equal(c.rows, own) for c, own in zip(under_way.copies, sent, strict=True))
    under_way.late.wait()
    assert len(under_way.copies) == 2
    means = [rows.mean(0) for rows in sent]
    assert all(torch.equal(m, own) for m, own in zip(workers.finish_mean(), means, strict=True))
    assert workers.all._under_way is None


def test_a_method_of_ones_own_is_streamed() -> None:
    """What it restarts from is all that it has to say."""

    class Half(PRSGD):
        def restart_point(self, mean: Array, lr: float, workers: Rows) -> Array:
            before = workers.replicated("before")
            before += 0.5 * (mean - before)
            return before

        def send(self, workers: Rows) -> list[Part]:
            return [Part(workers.x)]

    case = Case(Half(7, fragments=2, delay=3, merge="progress"), CASES["prsgd"].reference, ())
    ends = [x.numpy().copy() for x in play(case, network(case))]
    assert np.isfinite(ends[-1]).all()
    assert SlowMo(7, fragments=2).fragments == 2
