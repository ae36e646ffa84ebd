"""Figures and tables from run folders that the tests write by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import part, small_run
from matplotlib.axes import Axes

from prsgd.config import run_name
from prsgd.errors import Refused
from prsgd.records import METRICS, RunFolder
from prsgd.report import report
from prsgd.report.ends import by_interval, interval_lines, steps_by_workers
from prsgd.report.load import groups, load
from prsgd.report.speedup import lines
from prsgd.report.style import legend_columns, looks
from prsgd.report.tables import at_target, common_target, summary

EPOCHS = 5
FIGURES = {
    f"{n}.{kind}"
    for n in ("epochs", "rounds", "bytes", "time", "drift", "ends")
    for kind in ("png", "svg")
}


def fixture_run(
    results: Path,
    rate: float = 0.5,
    data: str = "toys",
    status: str = "done",
    processor: str = "EPYC",
    **keys: Any,
) -> Path:
    """A run whose loss is exp(-rate epoch), with ten rounds an epoch, one second each."""
    run = small_run(**keys)
    folder = RunFolder(results / run_name(run, "fp32", data))
    folder.create(run.as_dict())
    folder.write_environment(
        {
            "data": data,
            "data_fingerprint": data,
            "processor": processor,
            "cores": 2,
            "device": "cpu",
        }
    )
    folder.begin_tables()
    for epoch in range(EPOCHS + 1):
        loss = float(np.exp(-rate * epoch))
        values = [20 * epoch, epoch, 10 * epoch, 0.05, loss, loss, loss, 1 - loss / 2, 0.0]
        values += [1.0, 20 * epoch]
        values += [4000 * epoch, 4000 * epoch, 0, 0, 0.1 * epoch, float(epoch), 160.0]
        folder.append("metrics.csv", [dict(zip(METRICS, values, strict=True))])
    drift = 0.0 if run.algorithm.name == "minibatch" else 0.1
    folder.append(
        "rounds.csv",
        (
            {
                "step": 2 * r,
                "group": run.workers,
                "local_steps": "2",
                "virtual_time": 2.0 * r,
                "drift": drift / r,
                "payload_bytes": 400,
                "seconds": 0.01,
            }
            for r in range(1, 2 if run.algorithm.name == "one_shot" else 10 * EPOCHS + 1)
        ),
    )
    folder.set_status(status, "the loss is nan" if status == "diverged" else "")
    return folder.path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for seed, rate in enumerate((0.4, 0.5, 0.6)):
        fixture_run(tmp_path, rate, seed=seed, algorithm=part("prsgd", interval=8))
    fixture_run(tmp_path, 0.3, algorithm=part("prsgd", interval=32))
    fixture_run(tmp_path, 0.5, algorithm=part("minibatch"))
    fixture_run(tmp_path, 0.5, algorithm=part("one_shot"))
    fixture_run(tmp_path, 0.5, data="other toys")
    fixture_run(tmp_path, 0.5, model=part("mlp", width=9))
    return tmp_path


def test_seeds_are_one_curve_and_data_and_models_have_panels_of_their_own(results: Path) -> None:
    runs, left_out = load(results)
    assert not left_out
    found = {group.slug: [s.label for s in group.series] for group in groups(runs)}
    assert found == {
        "toys-mlp-8": ["mini-batch SGD", "PR-SGD, I = 8", "PR-SGD, I = 32", "one-shot averaging"],
        "other-toys-mlp-8": ["PR-SGD, I = 8"],
        "toys-mlp-9": ["PR-SGD, I = 8"],
    }
    [main] = [group for group in groups(runs) if group.slug == "toys-mlp-8"]
    assert [len(series.runs) for series in main.series] == [1, 3, 1, 1]
    assert main.caption == (
        "MLP-8 on toys, N = 2, b = 4, γ = 0.05, mean ± standard deviation of 1 to 3 seeds"
    )


def test_mini_batch_sgd_alone_has_no_figure_of_drift(tmp_path: Path) -> None:
    fixture_run(tmp_path / "runs", algorithm=part("minibatch"))
    report(tmp_path / "runs", tmp_path / "figures")
    [folder] = (tmp_path / "figures").iterdir()
    assert {path.name for path in folder.iterdir()} == (
        FIGURES - {"drift.png", "drift.svg"} | {"summary.md", "summary.csv"}
    )


def test_what_differs_is_in_the_label(tmp_path: Path) -> None:
    fixture_run(tmp_path, lr=0.05)
    fixture_run(tmp_path, lr=0.1)
    fixture_run(tmp_path, lr=0.1, algorithm=part("minibatch"))
    [group] = groups(load(tmp_path)[0])
    assert [series.label for series in group.series] == [
        "mini-batch SGD, γ = 0.1",
        "PR-SGD, I = 8, γ = 0.05",
        "PR-SGD, I = 8, γ = 0.1",
    ]


def test_an_interval_is_in_the_caption_only_if_all_have_it(tmp_path: Path) -> None:
    for workers in (1, 2, 4):
        fixture_run(tmp_path, workers=workers, algorithm=part("prsgd", interval=8))
    [group] = groups(load(tmp_path)[0])
    assert group.caption == "MLP-8 on toys, b = 4, γ = 0.05, I = 8"
    fixture_run(tmp_path, workers=2, algorithm=part("prsgd", interval=4))
    [group] = groups(load(tmp_path)[0])
    assert group.caption == "MLP-8 on toys, b = 4, γ = 0.05"


def test_curves_stand_in_the_same_order_at_every_interval(tmp_path: Path) -> None:
    for momentum in (0.9, 0.7, 0.5):
        for interval in (8, 1):
            algorithm = part("prsgd", interval=interval)
            fixture_run(tmp_path, momentum=momentum, algorithm=algorithm)
    [group] = groups(load(tmp_path)[0])
    assert [(s.interval, s.config["momentum"]) for s in group.series] == [
        *((1, 0.5), (1, 0.7), (1, 0.9)),
        *((8, 0.5), (8, 0.7), (8, 0.9)),
    ]


def test_means_and_deviations_by_hand(results: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if g.slug == "toys-mlp-8"]
    series = group.series[1]
    losses = np.exp([-0.4 * EPOCHS, -0.5 * EPOCHS, -0.6 * EPOCHS])
    target = common_target(group)
    assert target == pytest.approx(np.exp(-0.3 * EPOCHS))
    row = summary(series, target)
    assert row["training_loss"] == pytest.approx(losses.mean())
    assert row["training_loss_std"] == pytest.approx(losses.std(ddof=1))
    assert row["rounds"] == 50
    assert row["megabytes"] == 0.02
    assert row["train_seconds"] == 5.0
    assert row["images_per_second"] == 100 * 2 * 4 / 5
    slowest = summary(group.series[2], target)
    assert slowest["rounds_to_target"] == pytest.approx(50)
    assert slowest["seconds_to_target"] == pytest.approx(5)
    assert row["rounds_to_target"] < 50


def test_the_target_is_found_between_rows() -> None:
    metrics = pd.DataFrame({"consensus_train_loss": [4.0, 2.0, 1.0, 1.5], "round": [0, 10, 20, 30]})
    assert at_target(metrics, "round", 3.0) == 5
    assert at_target(metrics, "round", 1.0) == 20
    assert at_target(metrics, "round", 5.0) == 0
    assert np.isnan(at_target(metrics, "round", 0.5))


def test_every_figure_and_table_is_written(results: Path, capsys: pytest.CaptureFixture) -> None:
    assert report(results, results / "figures") == 0
    said = capsys.readouterr().out
    for slug in ("toys-mlp-8", "other-toys-mlp-8", "toys-mlp-9"):
        names = {path.name for path in (results / "figures" / slug).iterdir()}
        assert names == FIGURES | {"summary.md", "summary.csv"}
        assert f"figures/{slug}: epochs, rounds, bytes, time, ends, drift (png, svg)" in said
    svg = (results / "figures/toys-mlp-8/epochs.svg").read_text()
    for words in (
        "PR-SGD, I = 32",
        "one-shot averaging",
        "epochs of all workers together",
        "N = 2",
    ):
        assert words in svg
    table = (results / "figures/toys-mlp-8/summary.md").read_text()
    assert "| PR-SGD, I = 8 | 3 | 0.0891 ± " in table
    frame = pd.read_csv(results / "figures/toys-mlp-8/summary.csv")
    assert list(frame["rounds"]) == [50] * 4


def test_runs_with_speeds_have_a_virtual_clock(tmp_path: Path) -> None:
    fixture_run(tmp_path, speeds=[1.0, 2.0])
    unequal = part("unequal", speeds=[1.0, 2.0])
    fixture_run(tmp_path, speeds=[1.0, 2.0], algorithm=unequal)
    report(tmp_path, tmp_path / "figures")
    folder = tmp_path / "figures/toys-mlp-8"
    assert {path.name for path in folder.glob("*.png")} >= {"virtual_time.png", "drift.png"}
    svg = (folder / "virtual_time.svg").read_text()
    assert "virtual time (steps at speed 1)" in svg
    assert "PR-SGD, unequal steps, I = 8" in svg


def test_the_lines_of_a_speed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T = 100: the corollary's I is 3 for one worker, and 1 for two and four."""
    for workers, interval, lr, momentum in (
        *((1, 8, 0.1, 0.0), (2, 8, 0.1, 0.0), (2, 8, 0.1414, 0.0), (2, 1, 0.1, 0.0)),
        *((4, 8, 0.1, 0.0), (4, 8, 0.2, 0.0), (4, 8, 0.3, 0.0)),
        *((2, 8, 0.2, 0.0), (4, 8, 0.4, 0.0)),
        *((1, 8, 0.1, 0.9), (2, 8, 0.1, 0.9)),  # twice as fast
    ):
        fixture_run(
            tmp_path,
            (0.2 if momentum else 0.1) * workers,
            workers=workers,
            lr=lr,
            momentum=momentum,
            algorithm=part("prsgd", interval=interval),
        )
    [group] = groups(load(tmp_path)[0])
    assert {
        label: [(s.config["workers"], s.interval, s.config["lr"]) for s in members]
        for label, members in lines(group).items()
    } == {
        "PR-SGD, γ = 0.1, I = 8": [(1, 8, 0.1), (2, 8, 0.1), (4, 8, 0.1)],
        "PR-SGD, γ = 0.1√N, I = 8": [(1, 8, 0.1), (2, 8, 0.1414), (4, 8, 0.2)],
        "PR-SGD, γ = 0.1N, I = 8": [(1, 8, 0.1), (2, 8, 0.2), (4, 8, 0.4)],
        "PR-SGD, γ = 0.1, I = 1": [(1, 8, 0.1), (2, 1, 0.1)],
        # and so is the corollary's line, which has the same members
        "PR-SGD, γ = 0.1, I = 8, β = 0.9": [(1, 8, 0.1), (2, 8, 0.1)],
    }
    drawn: dict[str, tuple[list[float], list[float]]] = {}
    plot = Axes.plot

    def spy(axes: Axes, x: list[float], y: list[float], *more: Any, **style: Any) -> Any:
        if "label" in style:
            drawn[style["label"]] = list(x), list(y)
        return plot(axes, x, y, *more, **style)

    monkeypatch.setattr(Axes, "plot", spy)
    steps_by_workers(lines(group), group, tmp_path / "speedup")
    workers, steps = drawn["PR-SGD, γ = 0.1, I = 8"]
    target = np.exp(-0.5)  # where one worker ended: exp(-0.1 N epoch), and 20 steps an epoch
    assert common_target(group) == pytest.approx(target)
    assert workers == [1, 2, 4]
    assert steps == pytest.approx([100, 20 * 2.5, 20 * 1.25], rel=0.04)  # linear between rows
    fast = drawn["PR-SGD, γ = 0.1, I = 8, β = 0.9"][1]
    assert fast == pytest.approx([20 * 2.5, 20 * 1.25], rel=0.04)
    assert drawn["ideal: 1/N"] == ([1, 4], [fast[0], fast[0] / 4])
    assert drawn["_"] == ([1, 4], [steps[0], steps[0] / 4])  # the ideal of the others


def test_an_interval_has_one_colour_in_every_figure(results: Path, tmp_path: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if len(g.series) == 4]
    colours = {s.label: look["color"] for s, look in zip(group.series, looks(group), strict=True)}
    assert colours["mini-batch SGD"] == "black"
    assert len(set(colours.values())) == 4
    alone = fixture_run(tmp_path / "alone", algorithm=part("prsgd", interval=32)).parent
    [other] = groups(load(alone)[0])
    assert looks(other)[0]["color"] == colours["PR-SGD, I = 32"]
    other.series *= 2  # intervals do not tell these apart
    assert looks(other)[0]["color"] != colours["PR-SGD, I = 32"]
    [base] = [series for series in group.series if series.label == "mini-batch SGD"]
    other.series.append(base)
    assert looks(other)[2]["color"] == "black"


def test_a_legend_has_the_fewest_rows_that_fit() -> None:
    """On 5.6 inches: a letter takes 0.065, a mark and space 0.6."""
    assert legend_columns([]) == legend_columns(["x" * 200, "y"]) == 1
    assert legend_columns(["I = 1"] * 4) == 4
    assert legend_columns(["I = 1"] * 7) == 4  # two rows, 4 + 3, though six columns would fit
    assert legend_columns(["x" * 65, "y", "z"]) == 2  # a column of x and y, and one of z


def test_times_of_two_machines_do_not_compare(tmp_path: Path) -> None:
    fixture_run(tmp_path, seed=0)
    report(tmp_path, tmp_path / "figures")
    folder = tmp_path / "figures/toys-mlp-8"
    assert (folder / "time.png").exists()
    fixture_run(tmp_path, algorithm=part("prsgd", interval=4), processor="Xeon")
    report(tmp_path, tmp_path / "figures")
    drawn = {path.name for path in folder.iterdir()} - {"summary.md", "summary.csv"}
    assert drawn == FIGURES - {"time.png", "time.svg"}
    told = "Times do not compare: these runs are of 2 cores of EPYC (cpu), 2 cores of Xeon (cpu)."
    assert told in (folder / "summary.md").read_text()


def test_a_figure_by_interval_needs_three(results: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if len(g.series) == 4]
    assert interval_lines(group) == {}
    fixture_run(results, 0.2, algorithm=part("prsgd", interval=64))
    [group] = [g for g in groups(load(results)[0]) if len(g.series) == 5]
    assert {
        label: [series.interval for series in line] for label, line in interval_lines(group).items()
    } == {"mini-batch SGD": [None], "PR-SGD": [8, 32, 64], "one-shot averaging": [None]}
    by_interval(interval_lines(group), group, results / "intervals")
    assert (results / "intervals.svg").exists()


def test_lists_are_told_apart_in_labels(tmp_path: Path) -> None:
    for speeds in ([1.0, 2.0], [1.0, 4.0]):
        fixture_run(tmp_path, speeds=speeds)
    [group] = groups(load(tmp_path)[0])
    assert {s.label for s in group.series} == {
        "PR-SGD, I = 8, speeds = 1 2",
        "PR-SGD, I = 8, speeds = 1 4",
    }


def test_the_lemmas_bound_on_drift(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 γ² I² G² with γ = 0.05 and G² = 1, for plain SGD only."""
    lines: list[np.ndarray] = []
    plot = Axes.plot

    def watching(self: Axes, *data: Any, **style: Any) -> Any:
        if style.get("linestyle") == "--":
            lines.append(np.unique(data[1]))
        return plot(self, *data, **style)

    monkeypatch.setattr(Axes, "plot", watching)
    fixture_run(results, data="with momentum", momentum=0.9)
    report(results, results / "figures")
    found = sorted(float(value) for values in lines for value in values)
    assert found == pytest.approx(sorted([0.16 * 4, 2.56 * 4, 0.16 * 4, 0.16 * 4]))


def test_figures_are_reproducible(results: Path) -> None:
    for out in ("a", "b"):
        report(results, results / out)
    for path in (results / "a/toys-mlp-8").iterdir():
        assert path.read_bytes() == (results / "b/toys-mlp-8" / path.name).read_bytes(), path.name


def damage(path: Path, how: str) -> None:
    if how == "config":
        (path / "config.yaml").write_text("a: [")
    if how == "half a config":
        text = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(text[: text.index("algorithm:")])
    if how == "cut":
        text = (path / "metrics.csv").read_text()
        (path / "metrics.csv").write_text(text[: len(text) // 2] + "garbage\n")
    if how == "no metrics":
        (path / "metrics.csv").unlink()
    if how == "columns":
        (path / "metrics.csv").write_text("step,loss\n0,1\n1,2\n")
    if how == "environment":
        (path / "environment.json").write_text("{}")


DAMAGES = {
    "half a config": "config.yaml is damaged: it lacks algorithm._target_",
    "config": "config.yaml is damaged",
    "cut": "its records are damaged",
    "no metrics": "its records are damaged: [Errno 2]",
    "columns": "a table has other columns: another version of prsgd wrote it",
    "environment": "its records are damaged: 'data'",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_runs_are_named_and_left_out(
    results: Path, how: str, capsys: pytest.CaptureFixture
) -> None:
    victim = fixture_run(results, seed=9)
    damage(victim, how)
    assert report(results, results / "figures") == 0
    [line] = [li for li in capsys.readouterr().out.splitlines() if li.startswith("left out")]
    assert victim.name in line
    assert DAMAGES[how] in line


@pytest.mark.parametrize("status", ["running", "diverged", "interrupted", "failed"])
def test_unfinished_runs_are_named_and_left_out(
    tmp_path: Path, status: str, capsys: pytest.CaptureFixture
) -> None:
    path = fixture_run(tmp_path, status=status)
    with pytest.raises(Refused, match="there is no finished run in it"):
        report(tmp_path, tmp_path / "figures")
    why = ": the loss is nan" if status == "diverged" else ""
    assert capsys.readouterr().out == f"left out: {path} ({status}{why})\n"


@pytest.mark.slow
def test_twenty_runs_take_under_ten_seconds_and_no_torch(tmp_path: Path) -> None:
    for seed in range(4):
        for interval in (1, 4, 8, 16, 32):
            fixture_run(tmp_path, seed=seed, algorithm=part("prsgd", interval=interval))
    code = (
        "import sys; from prsgd.cli import dispatch\n"
        f"assert dispatch(['figures', {str(tmp_path)!r}]) == 0\n"
        "assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 10


def test_fixture_runs_have_the_layout_of_real_ones(results: Path, train_here: Any) -> None:
    _, folder = train_here(small_run(), "real")
    runs, left_out = load(folder.path)
    assert not left_out
    assert runs[0].data == json.loads((folder.path / "environment.json").read_text())["data"]
