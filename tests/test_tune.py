"""The experiments that tune each method: their grids, and the figures that they declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Command
from test_report import declare, fixture_run

from prsgd.config.compose import compose
from prsgd.config.naming import run_name
from prsgd.config.schema import Run
from prsgd.measures import Measures, Metric
from prsgd.report import report
from prsgd.run_folder import RunFolder, tables_of

OF_TEXT = Measures("tokens", (Metric("bits_per_byte", "bits per byte", "", "lower"),))
TUNE = "+experiment=tune"
METHODS = "experiment/family@_global_"


def grids(runs: list[Run]) -> dict[str, list[float]]:
    """The rates of each method, in their order."""
    found: dict[str, list[float]] = {}
    for run in runs:
        found.setdefault(run.algorithm.name, []).append(run.lr)
    return found


def test_tune_has_as_many_rates_for_each_method_and_one_budget() -> None:
    runs, figures = compose([TUNE])
    rates = [0.2, 0.4, 0.8, 1.6, 3.2]
    assert grids(runs) == dict.fromkeys(("minibatch", "prsgd", "slowmo", "diloco"), rates)
    assert len({(run.epochs, run.seed, run.batch_size, run.out) for run in runs}) == 1
    assert figures["best_of"] == "lr"


def test_the_grid_the_methods_and_the_data_of_tune_are_keys_as_any(tmp_path: Path) -> None:
    """As the comments in tune.yaml have it."""
    own = ["data=image_folder", f"data.root={tmp_path}", "epochs=30", "interval=32", "model=mlp"]
    runs, figures = compose([TUNE, *own, f"{METHODS}=minibatch,prsgd", "lr=0.05,0.1"])
    assert grids(runs) == {"minibatch": [0.05, 0.1], "prsgd": [0.05, 0.1]}
    assert {(run.epochs, run.interval, type(run.data).__name__) for run in runs} == {
        (30.0, 32, "ImageFolder")
    }
    assert {run.model.title for run in runs} == {"MLP-64"}
    assert figures["best_of"] == "lr"
    runs, _ = compose([TUNE, f"{METHODS}=diloco_adamw", "lr=0.001,0.01"])
    assert [(run.optimiser, run.lr) for run in runs] == [("adamw", 0.001), ("adamw", 0.01)]
    runs, _ = compose([TUNE, f"{METHODS}=prsgd", "hydra.sweeper.params.lr='0.3,0.6'"])
    assert grids(runs) == {"prsgd": [0.3, 0.6]}


@pytest.mark.slow
def test_a_sweep_of_tune_is_drawn_at_its_best(prsgd: Command, tmp_path: Path) -> None:
    """From the command to the figure, at the size of a test; a second one adds to the grid."""
    small = ["model=mlp", "epochs=0.2", "workers=2", "processes=1", f"{METHODS}=minibatch,prsgd"]
    for rates in ("0.05,0.1", "0.05,0.1,0.2"):
        trained = prsgd("train", TUNE, *small, f"lr={rates}")
        assert trained.returncode == 0, trained.stderr
        drawn = prsgd("figures")
        count = len(rates.split(","))
        assert f"As many values were tried for each curve: {count}." in drawn.stdout
    assert trained.stdout.count(": skipped") == 4
    [tried] = (tmp_path / "runs/tune/figures").glob("*/tried.png")
    assert tried.stat().st_size > 0


def language_run(folder: Path, run: Run, pattern: RunFolder, bits: float) -> None:
    """A record of a language model that ends with so many bits per byte and a little more."""
    name = run_name(run, "bf16", "text")
    record = RunFolder(folder / name)
    record.create(run.as_dict(), OF_TEXT)
    record.write_environment({**pattern.environment(), "data": "Tiny Shakespeare"})
    record.begin_tables()
    rows: Any = pd.read_csv(pattern.path / "metrics.csv")
    rows["test_bits_per_byte"] = bits + rows["consensus_train_loss"]
    rows["tokens_per_second"] = rows["images_per_second"]
    record.append("metrics.csv", rows[tables_of(OF_TEXT)["metrics.csv"]].to_dict("records"))
    record.set_status("done")


@pytest.mark.slow
def test_the_language_experiment_is_drawn_at_best_rates_by_interval(tmp_path: Path) -> None:
    """Ten curves of thirty runs: DiLoCo is best at 0.01, the others are at 0.003."""
    runs, figures = compose(["+experiment=language"])
    pattern = RunFolder(fixture_run(tmp_path / "pattern"))
    folder = tmp_path / "language"
    for run in runs:
        best = 0.01 if run.algorithm.name == "diloco" else 0.003
        language_run(folder, run, pattern, 2.0 + abs(run.lr - best))
    assert len([*folder.iterdir()]) == 30
    declare(folder, **figures)
    report(folder)
    [drawn] = (folder / "figures").iterdir()
    rows = pd.read_csv(drawn / "summary.csv")
    methods = ("DiLoCo", "PR-SGD", "mini-batch AdamW")
    found = {m: {*rows["lr"][rows["run"].str.startswith(m)]} for m in methods}
    assert found == {"DiLoCo": {0.01}, "PR-SGD": {0.003}, "mini-batch AdamW": {0.003}}
    assert [*rows["tried"]] == [3] * 10
    text = (drawn / "summary.md").read_text()
    assert "each at its best γ by test bits per byte" in text
    assert "beyond it: DiLoCo, I = 1 at γ = 0.01; DiLoCo, I = 8 at γ = 0.01; " in text
    for name in ("epochs", "tried"):
        svg = (drawn / f"{name}.svg").read_text()
        for words in (
            *("I = 1", "I = 8", "I = 64", "mini-batch AdamW, γ = 0.003", "DiLoCo, γ = 0.01"),
            *(f"PR-SGD, momentum_at_sync = {how}, γ = 0.003" for how in ("average", "keep")),
        ):
            assert svg.count(f">{words}<") == 1
