"""The ledger by hand, the tables, and what a run folder refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import numbers, part, small_run

from prsgd.cost.estimate import communication, sizes
from prsgd.errors import UserError
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import ROUNDS, RunFolder, tables_of

METRICS = tables_of(OF_IMAGES)["metrics.csv"]
D = 3 * 8 * 8 * 8 + 8 + 8 * 10 + 10  # of the small MLP
STEPS = 40


@pytest.mark.parametrize(
    ("algorithm", "momentum", "rounds_at", "vectors"),
    [
        (part("prsgd", interval=7), 0.0, [7, 14, 21, 28, 35, 40], 1),
        (part("prsgd", interval=8), 0.0, [8, 16, 24, 32, 40], 1),
        (part("prsgd", interval=7), 0.9, [7, 14, 21, 28, 35, 40], 2),
        (part("prsgd", interval=7, momentum_at_sync="keep"), 0.9, [7, 14, 21, 28, 35, 40], 1),
        (part("prsgd", interval=20, order="literal"), 0.0, [20, 40, 40], 1),
        (part("prsgd", interval=99), 0.0, [40], 1),
        (part("minibatch"), 0.9, list(range(1, 41)), 1),
        (part("one_shot"), 0.9, [40], 1),
    ],
)
def test_ledger_by_hand(
    train_here: Callable, algorithm: dict, momentum: float, rounds_at: list[int], vectors: int
) -> None:
    """T = 40, evaluated at 0, 20 and 40; four workers' ring sends 3/2 of the payload."""
    run = small_run(workers=4, batch_size=2, algorithm=algorithm, momentum=momentum)
    _, folder = train_here(run)
    metrics, rounds = numbers(folder), numbers(folder, "rounds.csv")
    payload = 4 * D * vectors
    assert list(rounds["step"]) == rounds_at
    assert set(rounds["payload_bytes"]) == {payload}
    assert list(metrics["step"]) == [0, 20, 40]
    counts = [0, sum(t <= 20 for t in rounds_at), len(rounds_at)]
    assert list(metrics["round"]) == counts
    assert list(metrics["payload_bytes"]) == [count * payload for count in counts]
    assert list(metrics["wire_bytes"]) == [count * payload * 3 // 2 for count in counts]
    forecast = communication(run, 160, sizes(run))
    assert (forecast.rounds, forecast.payload_bytes) == (len(rounds_at), len(rounds_at) * payload)


@pytest.mark.parametrize(("reduction", "size"), [("fast", 4), ("exact", 8)])
def test_exact_sums_are_of_eight_bytes(train_here: Callable, reduction: str, size: int) -> None:
    """In the ledger, and in what is forecast."""
    run = small_run(reduction=reduction, momentum=0.9, epochs=1)
    _, folder = train_here(run)
    assert set(numbers(folder, "rounds.csv")["payload_bytes"]) == {2 * size * D}
    assert communication(run, 160, sizes(run)).payload_bytes == 3 * 2 * size * D


@pytest.mark.parametrize(
    "parts",
    [
        {"model": part("mlp")},
        {"model": part("resnet", depth=8)},
        {"model": part("resnet", depth=8, norm="group")},
        {
            "model": {"name": "gpt"},
            "data": {"name": "stdlib"},
            "task": {"name": "language_modeling"},
        },
    ],
    ids=["MLP", "ResNet-8", "GroupNorm", "GPT"],
)
def test_sizes_are_those_of_the_module(parts: dict[str, Any]) -> None:
    run = small_run(**parts)
    assert sizes(run) == [p.numel() for p in run.build_model().parameters()]


@pytest.mark.parametrize("experiment", ["quickstart", "quickstart_lm"])
def test_a_run_does_without_torchs_compiler(tmp_path: Path, experiment: str) -> None:
    """To load it takes longer than to train this."""
    code = (
        "import sys; from prsgd.cli.main import dispatch\n"
        f"dispatch(['train', '+experiment={experiment}', 'epochs=0.001', 'processes=1'])\n"
        "assert not {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rows_say_what_they_mean(train_here: Callable) -> None:
    _, folder = train_here(small_run(algorithm=part("prsgd", interval=8)))
    metrics = numbers(folder)
    assert list(metrics["epoch"]) == [0, 1, 2]
    assert metrics["train_loss"].isna().tolist() == [True, False, False]
    assert list(metrics["drift"] > 0) == [False, True, False]  # t = 20 is between averagings
    assert metrics["test_accuracy"].between(0, 1).all()
    assert metrics["consensus_train_loss"].iloc[-1] < metrics["consensus_train_loss"].iloc[0]
    assert (numbers(folder, "rounds.csv")["drift"] > 0).all()


def test_rows_of_a_tenth_of_an_epoch_are_where_they_are_due(train_here: Callable) -> None:
    """0.3 / 0.1 is less than 3 in floating-point numbers, and yet the row is of step 6."""
    _, folder = train_here(small_run(epochs=1, evaluate_every=0.1))
    assert list(numbers(folder)["step"]) == [*range(0, 21, 2)]


def test_every_file_of_a_run_folder(train_here: Callable) -> None:
    _, folder = train_here(small_run())
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "config.yaml",
        "metrics.csv",
        "rounds.csv",
        "status.json",
        "environment.json",
        "model.safetensors",
        "checkpoint",
    }
    assert (folder.path / "metrics.csv").read_text().splitlines()[0] == ",".join(METRICS)
    assert (folder.path / "rounds.csv").read_text().splitlines()[0] == ",".join(ROUNDS)
    assert folder.status() == ("done", "")
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["data"] == "synthetic"
    assert environment["torch"] == torch.__version__.partition("+")[0]
    assert environment["processes"] == 1


def test_the_final_model_loads_into_a_plain_module(train_here: Callable) -> None:
    from safetensors.torch import load_file

    run = small_run(model=part("resnet", depth=8), epochs=0.5)
    _, folder = train_here(run)
    module = run.model.build(8, 10)
    loaded = load_file(folder.path / "model.safetensors")
    missing, unexpected = module.load_state_dict(loaded, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)


def test_resuming_cuts_the_tables(tmp_path: Path) -> None:
    """To what they were when they were measured, byte for byte."""
    folder = RunFolder(tmp_path)
    folder.begin_tables()
    row, round = dict.fromkeys(METRICS, 0), dict.fromkeys(ROUNDS, 0)
    folder.append("metrics.csv", [row, {**row, "step": 3}])
    folder.append("rounds.csv", [{**round, "step": step} for step in (2, 4)])
    measured = folder.measure_tables()
    assert folder.damage(measured) == ""
    before = {name: (tmp_path / name).read_text() for name in measured}
    folder.append("metrics.csv", [{**row, "step": 6}])
    folder.append("rounds.csv", [{**round, "step": 6}])
    assert folder.damage(measured) == ""
    folder.cut_tables(measured)
    assert {name: (tmp_path / name).read_text() for name in measured} == before
    (tmp_path / "metrics.csv").write_text(before["metrics.csv"].replace("3", "5"))
    assert folder.damage(measured) == "does not fit metrics.csv, which is damaged"
    folder.begin_tables()
    assert numbers(folder, "rounds.csv").empty


def test_one_folder_has_one_trainer(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.held(print):
        with pytest.raises(UserError) as refusal, RunFolder(tmp_path).held(print):
            pass
        who = f"process {os.getpid()} on {socket.gethostname()} since "
        assert str(refusal.value).startswith(f"{tmp_path} is being trained by {who}")
    with folder.held(print):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "{path} is not a run folder: it has no config.yaml"),
        ("a: [1", "{path}/config.yaml is damaged: it is not valid YAML"),
        ("workers", "{path}/config.yaml is damaged: it must be a mapping with a version"),
        ("workers: 4", "{path}/config.yaml is damaged: it must be a mapping with a version"),
        ("version: 7", "{path}/config.yaml has version 7; this prsgd reads versions 1 and 2"),
    ],
)
def test_damaged_configurations(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as refusal:
        RunFolder(tmp_path).config()
    assert str(refusal.value) == message.format(path=tmp_path)


def test_a_damaged_status_is_a_failure(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).status() == ("new", "")
    (tmp_path / "status.json").write_text('{"status":')
    assert RunFolder(tmp_path).status() == ("failed", "status.json is damaged")
