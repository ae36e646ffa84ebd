"""Compression: each code against NumPy, what travels, what is lost and sent later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import (
    SIX_WORKERS,
    Command,
    cut_short,
    part,
    same_on_any_processes,
    small_run,
    table,
)
from drawn import LOCAL_STEP, Drawn
from family import CASES, Case, net_gradients, network, play
from test_family import expected
from test_launch import folders
from torch import Tensor, nn

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.restarted import PRSGD
from prsgd.algorithms.scaffold import Scaffold
from prsgd.config.build import build_run
from prsgd.cost import estimate
from prsgd.distributed.codes import in_blocks
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.compressed import compressed_mean
from prsgd.distributed.compression import (
    BF16,
    BLOCK,
    Dense,
    Int4,
    Int8,
    Lossy,
    RandomK,
    Sign,
    TopK,
)
from prsgd.errors import UserError
from prsgd.tasks.base import Draws
from prsgd.training.workers import RowWorkers

CODES: dict[str, Dense] = {
    "bf16": BF16(),
    "int8": Int8(),
    "int8 stochastic": Int8(rounding="stochastic"),
    "int4": Int4(),
    "int4 stochastic": Int4(rounding="stochastic"),
    "sign": Sign(),
}
SENDERS: dict[str, Lossy] = {**CODES, "topk": TopK(ratio=0.1), "randomk": RandomK(ratio=0.1)}
SIZE = 700  # numbers: two blocks and a part of a third


def numbers(*shape: int) -> np.ndarray:
    """Of very different magnitudes, with zeros among them."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)
    x[..., ::50] = 0
    return x.astype(np.float32)


# codes, written once more ------------------------------------------------------------------------


def bf16(block: np.ndarray) -> np.ndarray:
    """Rounds half to even at the sixteenth bit."""
    bits = block.view(np.uint32).astype(np.uint64)
    rounded = bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))
    return (rounded & np.uint64(0xFFFF0000)).astype(np.uint32).view(np.float32)


def integers(block: np.ndarray, top: int, uniforms: np.ndarray | None) -> np.ndarray:
    scale = np.float32(np.abs(block).max() / np.float32(top))
    levels = block / (scale if scale > 0 else np.float32(1))
    whole = np.rint(levels) if uniforms is None else np.floor(levels + uniforms)
    return np.clip(whole, -top, top) * scale


def reference(code: Dense, row: np.ndarray, uniforms: np.ndarray | None) -> np.ndarray:
    """What the row means once it is coded."""
    found = []
    for start in range(0, len(row), BLOCK):
        block = row[start : start + BLOCK]
        u = None if uniforms is None else uniforms[start // BLOCK, : len(block)]
        if isinstance(code, BF16):
            found.append(bf16(block))
        elif isinstance(code, Sign):
            found.append(np.where(block >= 0, 1, -1) * np.abs(block).mean())
        else:
            found.append(integers(block, 2 ** (code.bits - 1) - 1, u))
    return np.concatenate(found)


def coded(code: Dense, row: np.ndarray, uniforms: np.ndarray | None) -> tuple[np.ndarray, int]:
    """What prsgd makes of it, and the bytes."""
    blocks = in_blocks(torch.from_numpy(row), BLOCK)
    counts = in_blocks(torch.ones(len(row)), BLOCK).sum(1, keepdim=True)
    packed = code.pack(blocks, counts, None if uniforms is None else torch.from_numpy(uniforms))
    assert packed.dtype == torch.uint8
    return code.unpack(packed).flatten()[: len(row)].numpy(), packed.numel()


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("size", [1, 7, 255, 256, 257, SIZE])
def test_a_code_is_what_it_says(name: str, size: int) -> None:
    code, row = CODES[name], numbers(size)
    blocks = -(-size // BLOCK)
    rng = np.random.default_rng(1)
    uniforms = rng.random((blocks, BLOCK), np.float32) if code.is_random else None
    found, count = coded(code, row, uniforms)
    np.testing.assert_allclose(found, reference(code, row, uniforms), rtol=1e-6, atol=0)
    by_hand = {"bf16": 512, "int8": 260, "int4": 132, "sign": 36}[name.partition(" ")[0]]
    assert count == code.message_bytes(size) == blocks * by_hand


@pytest.mark.parametrize("name", CODES)
def test_what_is_not_finite_stays_so(name: str) -> None:
    for strange in (np.nan, np.inf):
        row = numbers(300)
        row[10] = strange
        uniforms = np.zeros((2, BLOCK), np.float32) if CODES[name].is_random else None
        found, _ = coded(CODES[name], row, uniforms)
        assert not np.isfinite(found[:256]).all()
        assert np.isfinite(found[256:]).all()


@pytest.mark.parametrize("code", [Int8(rounding="stochastic"), Int4(rounding="stochastic")])
def test_stochastic_rounding_is_right_in_the_mean(code: Dense) -> None:
    row, rng, draws = numbers(256), np.random.default_rng(2), 4000
    found = np.stack(
        [coded(code, row, rng.random((1, BLOCK), np.float32))[0] for _ in range(draws)]
    ).astype(np.float64)
    level = np.abs(row).max() / (2 ** (code.bits - 1) - 1)
    assert np.abs(found - row).max() <= level * 1.0001
    error = np.abs(found.mean(0) - row)
    assert error.max() < 5 * level / 2 / np.sqrt(draws), "five standard errors at most"
    nearest, _ = coded(type(code)(), row, None)
    assert np.abs(nearest - row).max() > error.max()


# the mean over all workers -----------------------------------------------------------------------


def mean_of(
    code: Lossy, rows: np.ndarray, reduction: str = "exact", t: int = 3
) -> tuple[np.ndarray, np.ndarray, int]:
    """The mean of rows (N, D), what each message meant, and the payload."""
    communicator = Communicator(len(rows), "cpu", reduction)
    parts = [torch.from_numpy(rows.astype(np.float32))]
    found = compressed_mean(code, communicator, parts, torch.ones(2), [0, t])
    assert found.mean.control.tolist() == [1, 1]
    return found.mean.means[0].numpy(), found.sent[0].numpy(), found.mean.payload_bytes


@pytest.mark.parametrize("reduction", ["fast", "exact"])
@pytest.mark.parametrize("name", ["bf16", "int8", "int4", "sign"])
def test_the_mean_is_coded_once_more(name: str, reduction: str) -> None:
    code, rows = CODES[name], numbers(5, SIZE)
    found, sent, payload = mean_of(code, rows, reduction)
    messages = np.stack([reference(code, row, None) for row in rows])
    np.testing.assert_allclose(sent, messages, rtol=1e-6)
    expected = reference(code, messages.astype(np.float64).mean(0).astype(np.float32), None)
    wrong = np.abs(found - expected) > 1e-5 * np.abs(expected).max()
    assert wrong.mean() < 0.01, "a mean between two levels may be rounded either way"
    assert payload == code.message_bytes(SIZE)


def test_top_k_sends_the_largest() -> None:
    rows = numbers(4, SIZE)
    found, sent, payload = mean_of(TopK(ratio=0.05), rows)
    kept = 35
    for row, message in zip(rows, sent, strict=True):
        places = np.flatnonzero(message)
        assert len(places) == kept
        assert np.array_equal(message[places], row[places])
        assert np.abs(row[places]).min() >= np.abs(np.delete(row, places)).max()
    np.testing.assert_allclose(found, sent.astype(np.float64).mean(0), rtol=1e-6)
    assert payload == 8 * kept


def test_random_k_sends_the_same_places_of_all() -> None:
    rows = numbers(4, SIZE) + 1
    plain, sent, payload = mean_of(RandomK(ratio=0.1), rows)
    places = np.flatnonzero(sent[0])
    assert len(places) == 70
    assert all(np.array_equal(np.flatnonzero(message), places) for message in sent)
    np.testing.assert_allclose(plain[places], rows[:, places].mean(0), rtol=1e-5)
    assert np.count_nonzero(plain) == 70
    scaled, _, _ = mean_of(RandomK(ratio=0.1, error_feedback=False), rows)
    np.testing.assert_allclose(scaled, 10 * plain, rtol=1e-5)
    other, _, _ = mean_of(RandomK(ratio=0.1), rows, t=4)
    assert not np.array_equal(np.flatnonzero(other), places)
    assert payload == 8 * 70, "exact sends 64-bit integers"
    assert mean_of(RandomK(ratio=0.1), rows, "fast")[2] == 4 * 70
    draws = [mean_of(RandomK(ratio=0.1, error_feedback=False), rows, t=t)[0] for t in range(600)]
    spread = 3 * np.abs(rows.mean(0)) * 5 / np.sqrt(600)
    assert (np.abs(np.mean(draws, 0) - rows.mean(0)) < spread + 1e-6).all()


@pytest.mark.parametrize("name", SENDERS)
def test_error_feedback_loses_nothing(name: str) -> None:
    """What was sent in all rounds and what is left are all that there was to send."""
    code, rng = SENDERS[name], np.random.default_rng(4)
    left, total, arrived = np.zeros((3, SIZE)), np.zeros((3, SIZE)), np.zeros((3, SIZE))
    for t in range(40):
        fresh = rng.normal(size=(3, SIZE)).astype(np.float32)
        total += fresh
        _, sent, _ = mean_of(code if code.error_feedback else type(code)(True), fresh + left, t=t)
        arrived += sent
        left = fresh + left - sent
    np.testing.assert_allclose(arrived + left, total, atol=1e-3)
    assert np.abs(left).max() < np.abs(total).max()


# published counterexamples -----------------------------------------------------------------------


def descended(code: Lossy, start: list[float], gradients: Any, lr: float, steps: int) -> np.ndarray:
    """Where x <- x - lr mean_i C(g_i + e_i) leads."""
    x = np.array(start)
    left = np.zeros_like(gradients(x))
    for t in range(steps):
        rows = lr * gradients(x) + left
        mean, sent, _ = mean_of(code, rows, t=t)
        if code.error_feedback:
            left = rows - sent
        x = x - mean
    return x


def test_signs_need_error_feedback() -> None:
    """Karimireddy et al. (1901.09847), counterexample 2: f = |x1 + x2| / 2 + |x1 - x2|."""

    def gradients(x: np.ndarray) -> np.ndarray:
        a, b = np.sign(x[0] + x[1]) / 2, np.sign(x[0] - x[1])
        return np.array([[a + b, a - b]])

    def f(x: np.ndarray) -> float:
        return float(abs(x[0] + x[1]) / 2 + abs(x[0] - x[1]))

    start = [1.0, 1.0001]
    without = descended(Sign(error_feedback=False), start, gradients, 0.003, 3000)
    assert without.sum() == pytest.approx(sum(start), abs=1e-3), "the sum never changes"
    assert f(without) > 0.99
    assert f(descended(Sign(), start, gradients, 0.003, 3000)) < 0.02


class Springs(Draws):
    """f_i(x) = h_i (x - b_i)^2 / 2, different for each of the workers."""

    def __init__(self, workers: int, size: int) -> None:
        rng = np.random.default_rng(1)
        self.h = torch.from_numpy(1 + 0.5 * np.tanh(rng.normal(size=(workers, size)))).float()
        self.b = torch.from_numpy(rng.normal(size=(workers, size))).float()

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.h[[*workers]], self.b[[*workers]]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        h, b = batch
        return (h * (model.weight[0] - b) ** 2).sum() / 2

    def optimum(self) -> Tensor:
        return (self.h * self.b).sum(0) / self.h.sum(0)


def distance_from_optimum(algorithm: Algorithm, code: Lossy | None) -> float:
    """After 1,000 steps from 0."""
    torch.manual_seed(0)
    springs, model = Springs(4, 64), nn.Linear(64, 1, bias=False)
    settings = CASES["prsgd"].keys
    workers = RowWorkers(model, Communicator(4, "cpu", "fast"), springs, settings, bf16=False)
    if code:
        workers.compress(code, 0)
    info = RunInfo(4, 1000, 1000, lambda t: 0.02)
    algorithm.begin(info, workers)
    for t in range(1, info.steps + 1):
        workers.compute_gradients()
        algorithm.step(t, 0.02, workers)
    algorithm.finish(info.steps, 0.02, workers)
    return float((workers.x.mean(0) - springs.optimum()).norm())


def test_scaffold_sends_a_change_of_its_corrections_once() -> None:
    """However little of it a message holds, as error feedback sends the rest."""
    assert distance_from_optimum(PRSGD(4), None) > 0.02
    assert distance_from_optimum(Scaffold(4), None) < 1e-4
    assert distance_from_optimum(Scaffold(4), TopK(ratio=0.1)) < 1e-4


def test_top_k_needs_error_feedback() -> None:
    """Beznosikov et al. (2002.12410), example 1: three workers whose top-1 point away from 0."""
    a = np.array([[-3.0, 2, 2], [2, -3, 2], [2, 2, -3]])

    def gradients(x: np.ndarray) -> np.ndarray:
        return 2 * (a @ x)[:, None] * a + x / 2

    start, lr = [1.0, 1.0, 1.0], 0.01
    without = descended(TopK(False, 1 / 3), start, gradients, lr, 300)
    assert np.abs(without).min() > 10, "it moves away exponentially"
    assert np.abs(descended(TopK(True, 1 / 3), start, gradients, lr, 3000)).max() < 1e-2


# whole runs --------------------------------------------------------------------------------------

ALONE = [name for name, case in CASES.items() if case.algorithm.has_reference]


@pytest.mark.parametrize("name", ALONE)
def test_every_method_sends_differences(name: str) -> None:
    """With all of the differences sent, each follows its reference as if nothing was compressed."""
    case: Case = CASES[name]
    workers = network(case)
    workers.compress(TopK(error_feedback=False, ratio=1.0), 0)
    reference = expected(case, workers.x[0].double().numpy(), net_gradients)
    found = np.stack([x.numpy().copy() for x in play(case, workers)])
    np.testing.assert_allclose(found, reference, atol=2e-5)


METHODS = (
    "int8 compression.rounding=stochastic",
    "int4 compression.error_feedback=true optimiser=adamw lr=0.001",
    "sign algorithm=minibatch",
    "topk compression.ratio=0.02 momentum=0.9",
    "randomk compression.ratio=0.05 algorithm=diloco",
    "bf16 algorithm=scaffold",
)
OTHERS = (*METHODS[1:3], *METHODS[4:])


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [METHODS[0], METHODS[3], *(pytest.param(m, marks=pytest.mark.faults) for m in OTHERS)],
    ids=lambda method: method.partition(" ")[0],
)
def test_the_processes_do_not_matter(method: str, prsgd: Command, tmp_path: Path) -> None:
    """P = 1, 2 and 3, and the ledger is what the dry run counts."""
    keys = [f"compression={method.partition(' ')[0]}", *method.split(" ")[1:]]
    folder = same_on_any_processes(prsgd, tmp_path, *keys)
    config = {k: v for k, v in _config(folder).items() if k not in ("version", "tables")}
    run = build_run({k: v for k, v in config.items() if k != "measures"})
    counted = estimate.communication(run, run.samples(), [_parameters(folder)])
    metrics = pd.read_csv(folder / "metrics.csv").iloc[-1]
    assert metrics["payload_bytes"] == counted.payload_bytes
    assert np.isfinite(metrics["consensus_train_loss"])
    wire = metrics["wire_bytes"] / metrics["payload_bytes"]
    assert wire == pytest.approx(5 if "topk" in method else 10 / 6, rel=1e-3)


@pytest.mark.dist
def test_a_process_may_own_no_block(prsgd: Command, tmp_path: Path) -> None:
    """All numbers of the model are in one block, and there are two processes."""
    small = [key for key in SIX_WORKERS if not key.startswith(("model.width", "epochs", "workers"))]
    few = "model.width=1", "workers=2", "epochs=0.2", "compression=int8,int4,sign,bf16,topk"
    for P in (1, 2):
        shown = prsgd("train", "-m", *small, *few, f"processes={P}", f"out=p{P}", "jobs=1")
        assert shown.returncode == 0, shown
    ones, twos = (folders(tmp_path / f"p{P}") for P in (1, 2))
    assert len(ones) == 5
    for one, two in zip(ones, twos, strict=True):
        assert one.name == two.name
        assert _parameters(one) < BLOCK
        assert table(one).equals(table(two))


@dataclass
class Nothing(Lossy):
    """Sends nothing, in no way that is known."""

    def message_bytes(self, numbers: int) -> int:
        return 0


def test_a_code_of_ones_own_is_of_a_kind_that_travels() -> None:
    with pytest.raises(UserError) as caught:
        small_run(
            plugins=["test_compression"], compression={"_target_": "test_compression.Nothing"}
        )
    assert str(caught.value) == (
        "compression: Nothing must be a subclass of one of Uncompressed, Dense, TopK, RandomK"
    )


def _config(folder: Path) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    return found


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("choice", ["int4", "topk"])
def test_a_resumed_run_is_the_run(choice: str, train_here: Any) -> None:
    """Points, and what was lost so far, are in the checkpoint."""
    run = small_run(
        compression={"name": choice, "error_feedback": True},
        momentum=0.9,
        checkpoint_seconds=0,
        epochs=3,
        workers=2,
    )
    whole, cut = cut_short(train_here, run, 31)
    assert table(whole).equals(table(cut))
    manifest = json.loads(next(iter(cut.checkpoints.glob("*/manifest.json"))).read_text())
    names = manifest["counters"]["workers"]["names"]
    assert set(names["per_worker"]) == {
        "compression/residual_restart0",
        "compression/residual_mean1",
    }
    assert set(names["replicated"]) == {"compression/restart", "compression/mean1"}


def test_second_moments_stay_above_zero() -> None:
    workers = adamw_workers()
    means = [torch.full_like(workers.x[0], value) for value in (-1.0, -1.0)]
    workers.set_moments("average", means)
    assert bool((workers.optimizer.moments["m"] == -1).all())
    assert bool((workers.optimizer.moments["v"] == 0).all())


def adamw_workers() -> RowWorkers:
    """Two rows of a small module, which send int8."""
    settings = SimpleNamespace(
        optimiser="adamw", momentum=0.0, nesterov=False, betas=[0.9, 0.999], eps=1e-8
    )
    vars(settings).update(weight_decay=0.0, **LOCAL_STEP)
    task = Drawn(lambda worker, draw: (torch.ones(4, 3), torch.zeros(4, dtype=torch.long)))
    communicator = Communicator(2, "cpu", "fast")
    workers = RowWorkers(torch.nn.Linear(3, 2), communicator, task, settings, bf16=False)
    workers.compress(Int8(), 0)
    return workers


def test_who_codes_second_moments_is_told(train_here: Any, capsys: Any) -> None:
    note = (
        "AdamW's second moments are coded too: where one comes out as 0 a step divides by eps; "
        "momentum_at_sync=keep sends none\n"
    )
    own = {"optimiser": "adamw", "lr": 1e-4, "compression": {"name": "bf16"}}
    train_here(small_run(**own), "average")
    assert note in capsys.readouterr().out
    keep = {"algorithm": part("prsgd", momentum_at_sync="keep"), "momentum_at_sync": "keep"}
    train_here(small_run(**own, **keep), "keep")
    train_here(small_run(), "none")
    assert note not in capsys.readouterr().out


def test_groups_have_no_common_point() -> None:
    with pytest.raises(UserError) as caught:
        small_run(
            compression={"name": "int8"}, algorithm=part("hierarchical", levels={2: 8}), workers=2
        )
    assert str(caught.value) == (
        "compression=int8: must be none with algorithm=hierarchical, whose groups have no point "
        "that all workers know"
    )


@pytest.mark.parametrize("ratio", [0, -1, 1.5])
def test_a_share_is_at_most_all(ratio: float) -> None:
    with pytest.raises(UserError, match=r"compression\.ratio=.*: must be a number above 0 and at"):
        small_run(compression={"name": "topk", "ratio": ratio})
