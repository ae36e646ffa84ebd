"""Figures of how far runs ended from others that they are compared with."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import part
from matplotlib.axes import Axes
from test_report import EPOCHS, declare, fixture_run

from prsgd.report import report
from prsgd.report.asked import tuned
from prsgd.report.behind import baselines, paired
from prsgd.report.curves import Group, groups
from prsgd.report.runs import load

COST = {"x": "epochs", "y": "test_accuracy", "minus": {"interval": 1}, "slope": -1}
RATES = {  # of the loss exp(-rate epoch), by epochs and interval, for two seeds
    (5.0, 1): (0.5, 0.6),
    (5.0, 8): (0.3, 0.3),
    (10.0, 1): (0.7, 0.8),
    (10.0, 8): (0.6, 0.5),
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    for (epochs, interval), rates in RATES.items():
        for seed, rate in enumerate(rates):
            own = part("prsgd", interval=interval)
            fixture_run(tmp_path, rate, epochs=epochs, algorithm=own, seed=seed)
    return tmp_path


def the_group(folder: Path) -> Group:
    [group] = tuned(groups(load(folder)[0]), [])
    return group


def accuracy(rate: float) -> float:
    return float(1 - np.exp(-rate * EPOCHS) / 2)


def test_differences_are_of_equal_seeds(trained: Path) -> None:
    group = the_group(trained)
    found = baselines(group, {"algorithm.interval": 1})
    assert {(c.config["epochs"], c.interval): b.interval for c, b in found.items()} == {
        (5.0, 8): 1,
        (10.0, 8): 1,
    }
    for curve, baseline in found.items():
        epochs = curve.config["epochs"]
        pairs = [
            accuracy(mine) - accuracy(theirs)
            for mine, theirs in zip(RATES[epochs, 8], RATES[epochs, 1], strict=True)
        ]
        middle, error = paired(curve, baseline, "test_accuracy")
        assert middle == pytest.approx(np.mean(pairs), abs=1e-5)
        assert error == pytest.approx(abs(pairs[0] - pairs[1]) / 2, abs=1e-5)


def test_one_seed_has_no_error_and_none_in_common_no_difference(tmp_path: Path) -> None:
    for interval, seed in ((1, 0), (8, 0), (8, 1)):
        fixture_run(tmp_path, algorithm=part("prsgd", interval=interval), seed=seed)
    fixture_run(tmp_path, algorithm=part("prsgd", interval=16), seed=1)
    one, eight, sixteen = sorted(the_group(tmp_path).curves, key=lambda curve: curve.interval or 0)
    middle, error = paired(eight, one, "test_accuracy")
    assert (middle, isnan(error)) == (0.0, True)
    assert all(map(isnan, paired(sixteen, one, "test_accuracy")))


def test_each_is_compared_at_its_own_best_rate(tmp_path: Path) -> None:
    """Where rates were chosen, they may differ; another key may not."""
    declare(tmp_path, best_of="lr")
    for interval, lr, rate in ((1, 0.4, 0.5), (1, 0.8, 0.7), (8, 0.4, 0.6), (8, 0.8, 0.3)):
        fixture_run(tmp_path, rate, lr=lr, algorithm=part("prsgd", interval=interval))
    fixture_run(tmp_path, momentum=0.9, algorithm=part("prsgd", interval=8))
    found = baselines(the_group(tmp_path), {"algorithm.interval": 1})
    [(curve, baseline)] = found.items()
    assert (curve.config["lr"], baseline.config["lr"]) == (0.4, 0.8)


def test_the_figure_and_its_dashed_line(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(trained, cost=COST)
    drawn: list[tuple[Any, Any]] = []
    plot = Axes.plot

    def spy(axes: Axes, x: Any, y: Any, *more: Any, **style: Any) -> Any:
        if style.get("label") == "_":
            drawn.append((x, y))
        return plot(axes, x, y, *more, **style)

    monkeypatch.setattr(Axes, "plot", spy)
    report(trained)
    folder = trained / "figures/toys-mlp-8"
    svg = (folder / "cost.svg").read_text()
    for words in (
        "minus that at I = 1",
        "PR-SGD, I = 8",
        "standard error of 2",
        "dashed: ∝ epochs⁻¹",
    ):
        assert words in svg
    data = pd.read_csv(folder / "cost_data.csv").sort_values("epochs", ignore_index=True)
    assert list(data) == ["line", "epochs", "test_accuracy", "test_accuracy_error"]
    assert data["epochs"].to_list() == [5, 10]
    [(x, y)] = drawn
    assert (x[0], x[-1]) == (5, 10)
    assert (y[0], y[-1]) == pytest.approx(
        (100 * data["test_accuracy"][0], 50 * data["test_accuracy"][0]), rel=1e-4
    )
