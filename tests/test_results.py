"""The committed results: whole, as their configurations name them, and told as they are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tables
from conftest import part
from test_report import fixture_run

from prsgd.config import run_name, typed
from prsgd.records import RunFolder
from prsgd.report.load import groups, load, load_run

ROOT = Path(__file__).parent.parent
LISTED = subprocess.run(
    ["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True
)
COMMITTED = [ROOT / name for name in LISTED.stdout.splitlines()]
RUNS = [path.parent for path in COMMITTED if path.name == "config.yaml"]
DOCUMENTS = [ROOT / "README.md", *(path for path in COMMITTED if path.suffix == ".md")]


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_a_committed_run_is_whole_and_its_configuration_is_its_own(folder: Path) -> None:
    names = {path.name for path in COMMITTED if path.parent == folder}
    assert names >= {"config.yaml", "metrics.csv", "rounds.csv", "environment.json", "status.json"}
    run = load_run(folder)  # refuses what is not done
    environment = json.loads((folder / "environment.json").read_text())
    config = typed(RunFolder(folder).config())
    assert run_name(config, environment["precision"], run.fingerprint) == folder.name


def test_results_are_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED) < 20e6


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_records(document: Path) -> None:
    text = document.read_text()
    assert tables.filled(text) == text
    assert text.count("<!-- end -->") == len(tables.BLOCK.findall(text)) > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_is_there(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)[)#]", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


def test_a_table_of_ends_by_hand(tmp_path: Path) -> None:
    """Differences are of equal seeds: of losses 2, 3 against 1, 1 they are 1.5 ± 0.5."""
    at_end = {0: (0.1, 0.3), 1: (0.2, 0.3)}  # rate: a loss of exp(-5 rate), accuracy 1 - loss / 2
    for seed, (baseline, other) in at_end.items():
        fixture_run(tmp_path, baseline, seed=seed, algorithm=part("minibatch"))
        fixture_run(tmp_path, other, seed=seed, algorithm=part("prsgd", interval=8))
    fixture_run(tmp_path, 0.3, seed=0, algorithm=part("prsgd", interval=16))
    table = tables.ends(str(tmp_path))
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.split("\n")]
    losses = {rate: float(np.exp(-5 * rate)) for rate in (0.1, 0.2, 0.3)}
    first, second = losses[0.3] - losses[0.1], losses[0.3] - losses[0.2]
    mean, error = (first + second) / 2, abs(first - second) / 2  # √(Σ(d − mean)² / 1) / √2
    assert rows[2][:4] == ["mini-batch SGD", "2", rows[2][2], ""]
    assert rows[3][0] == "PR-SGD, I = 8"
    assert rows[3][3] == f"{mean:+.3f} ± {error:.3f}".replace("-", "−")
    assert rows[3][5] == f"{-50 * mean:+.2f} ± {50 * error:.2f}"
    alone = [1 - losses[0.3] / 2, 1 - (losses[0.1] + losses[0.2]) / 4]
    sampled = 100 * sum(p * (1 - p) / 10_000 for p in alone) ** 0.5
    assert rows[4][3] == f"{first:+.3f}".replace("-", "−")
    assert rows[4][5] == f"{-50 * first:+.2f} ± {sampled:.2f}"
    assert rows[4][6:] == ["50", "0"]


def test_restarted_sgd_at_every_step_is_the_baseline(tmp_path: Path) -> None:
    for order in ("restart", "literal"):
        for interval in (1, 8):
            fixture_run(tmp_path, algorithm=part("prsgd", interval=interval, order=order))
    [group] = groups(load(tmp_path)[0])
    baseline = tables.minibatch(group)
    assert baseline is not None
    assert baseline.label == "PR-SGD, I = 1, order = restart"


def test_a_table_of_steps_by_hand(tmp_path: Path) -> None:
    """A loss of exp(-rate epoch), an epoch of 20 steps: exp(-1) is reached in 1 / rate epochs."""
    for workers, rate in ((1, 0.2), (2, 0.25), (4, 0.5)):
        fixture_run(tmp_path, rate, workers=workers, algorithm=part("prsgd", interval=8))
    head, _, row = tables.steps(str(tmp_path)).splitlines()
    assert head == "| steps to 0.368 | N = 1 | N = 2 | N = 4 | slope on log N |"
    slope = (np.log2(40) - np.log2(100)) / 2
    assert row == f"| PR-SGD, γ = 0.05, I = 8 | 100 | 80 | 40 | −{-slope:.2f} |"
