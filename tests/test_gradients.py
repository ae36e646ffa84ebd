"""Gradients from recordings are those of a loop, bit by bit.

Without a GPU a recording is the work itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import bound, part, small_run

import prsgd
from prsgd.config.plan import Machine, decide, strategy
from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError
from prsgd.tasks.base import blank, leaves, row_of_nest
from prsgd.training.gradients import Graphs
from prsgd.training.setup import build_workers
from prsgd.training.workers import RowWorkers

RESNET = part("resnet", depth=8)
GIVEN = {"_target_": "prsgd.models.given.Given", "of": "torch.nn.Flatten"}
GPT = {"_target_": "prsgd.models.GPT", "depth": 1, "width": 16, "heads": 2, "dropout": 0.3}
CASES: dict[str, dict[str, Any]] = {
    "BatchNorm and momentum": {"model": RESNET, "momentum": 0.9},
    "bf16": {"model": RESNET, "precision": "bf16"},
    "parts of a batch, clipped": {"model": RESNET, "accumulate": 2, "clip": 0.1},
    "AdamW": {"optimiser": "adamw", "lr": 0.001},
}


def trained(cache: Path, steps: int = 5, **keys: Any) -> RowWorkers:
    """Workers after some steps, in each of which another one is idle, and an averaging."""
    run = small_run(workers=3, **keys)
    communicator = Communicator(3, "cpu", "fast")
    bf16 = keys.get("precision") == "bf16"
    workers = build_workers(run, bound(run, cache), communicator, bf16)
    for t in range(steps):
        workers.compute_gradients([w for w in range(3) if t == 0 or w != t % 3])
        workers.optimizer_step(0.05)
        if t == 2:
            workers.average("keep")
    return workers


def assert_same(ours: RowWorkers, theirs: RowWorkers) -> None:
    found, wanted = ours.state_tensors(), theirs.state_tensors()
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    assert torch.equal(ours.g, theirs.g)


@pytest.mark.parametrize("name", CASES)
def test_recordings_are_the_loop(name: str, cache: Path) -> None:
    keys = CASES[name]
    assert_same(trained(cache, gradients="graph", **keys), trained(cache, **keys))


def test_recordings_of_a_model_that_draws(cache: Path) -> None:
    keys = {
        "model": {
            "_target_": "prsgd.models.GPT",
            "depth": 1,
            "width": 16,
            "heads": 2,
            "dropout": 0.3,
        },
        "data": {"_target_": "prsgd.data.text.Stdlib"},
        "task": {"_target_": "prsgd.tasks.language_modeling.LanguageModeling", "context": 16},
    }
    assert_same(trained(cache, gradients="graph", **keys), trained(cache, **keys))


def test_a_recording_is_made_once_and_for_other_shapes_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    recorded = Graphs._recorded

    def counted(self: Graphs, row: int) -> Callable[[], None]:
        made.append(row)
        return recorded(self, row)

    monkeypatch.setattr(Graphs, "_recorded", counted)
    workers = trained(cache, gradients="graph")
    assert made == [0, 1, 2]
    inputs = [tensor.data_ptr() for tensor in leaves(workers.gradients.inputs)]
    workers.compute_gradients()
    assert [tensor.data_ptr() for tensor in leaves(workers.gradients.inputs)] == inputs
    smaller = [tensor[:, :2] for tensor in workers.draw([0, 1, 2])]
    workers.gradients.compute([0, 1, 2], smaller)
    assert made == [0, 1, 2] * 2


def test_recording_leaves_no_trace(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is warmed up first, which steps through BatchNorm and adds to its gradient."""
    recorded = Graphs._recorded

    def warmed_up(self: Graphs, row: int) -> Callable[[], None]:
        step = recorded(self, row)
        for _ in range(3):
            step()
        assert self.workers.g[row].any()
        return step

    plain = trained(cache, model=RESNET)
    monkeypatch.setattr(Graphs, "_recorded", warmed_up)
    assert_same(trained(cache, model=RESNET, gradients="graph"), plain)


def test_where_gradients_cannot_be_recorded() -> None:
    laptop = Machine(gpus=0, cores=2, linux=True, bf16={"cuda": False, "cpu": False})
    with pytest.raises(UserError) as refusal:
        decide(small_run(gradients="graph"), laptop, {})
    assert str(refusal.value) == (
        "gradients=graph: is for CUDA GPUs, and none is in use; it must be auto or loop"
    )
    with pytest.raises(UserError) as refusal:
        small_run(gradients="graph", model=GIVEN)
    assert str(refusal.value) == (
        "gradients=graph: records what prsgd's own models and losses do; with others it must be "
        "auto or loop"
    )


def test_graphs_are_chosen_where_they_were_seen_to_be_right_on_a_gpu() -> None:
    assert strategy(small_run(), "cuda") == "graph"
    assert strategy(small_run(gradients="loop"), "cuda") == "loop"
    assert strategy(small_run(gradients="graph", reduction="exact"), "cuda") == "graph"
    assert strategy(small_run(), "cpu") == "loop"
    assert strategy(small_run(reduction="exact"), "cuda") == "loop"
    assert strategy(small_run(model=GIVEN), "cuda") == "loop"
    dropout = prsgd.compose("+experiment=quickstart_lm", "model.dropout=0.1")
    assert strategy(dropout, "cuda") == "loop"


def test_blank_rows_are_of_the_same_kinds() -> None:
    nest = {"x": torch.ones(2, 3), "y": (torch.ones(2, dtype=torch.int64), [torch.ones(2, 1, 4)])}
    found = blank(nest, 5)
    assert [(t.dtype, [*t.shape], bool(t.any())) for t in leaves(found)] == [
        (torch.float32, [5, 3], False),
        (torch.int64, [5], False),
        (torch.float32, [5, 1, 4], False),
    ]


class Named(NamedTuple):
    x: torch.Tensor
    y: list[torch.Tensor]


def test_a_batch_may_be_a_named_tuple() -> None:
    row = row_of_nest(Named(torch.ones(2, 3), [torch.zeros(2)]), 1)
    assert isinstance(row, Named)
    assert [own.shape for own in leaves(row)] == [(3,), ()]
