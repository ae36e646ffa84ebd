"""Figures and tables from run folders that the tests write by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import part, small_run, spent
from matplotlib.axes import Axes

from prsgd.cli.figures import main
from prsgd.config.naming import run_name
from prsgd.config.registry import known_class, path_of
from prsgd.config.schema import GROUPS
from prsgd.errors import UserError
from prsgd.measures import OF_IMAGES
from prsgd.report import report
from prsgd.report.curves import Group, groups
from prsgd.report.drift import draw_drift
from prsgd.report.points import draw_points, lines_of
from prsgd.report.runs import load
from prsgd.report.scales import logarithmic, powers_of_two
from prsgd.report.sheet import Sheet
from prsgd.report.specs import Spec, specs
from prsgd.report.style import styles
from prsgd.report.tables import at_target, common_target, summary
from prsgd.run_folder import NEW_COLUMNS, RunFolder, tables_of

EPOCHS = 5
FIGURES = {
    f"{n}{ending}"
    for n in ("epochs", "rounds", "bytes", "time", "drift", "ends")
    for ending in (".png", ".svg", "_data.csv")
}


def fixture_run(
    results: Path,
    rate: float = 0.5,
    data: str = "toys",
    status: str = "done",
    processor: str = "EPYC",
    data_keys: dict[str, Any] | None = None,
    **keys: Any,
) -> Path:
    """A run whose loss is exp(-rate epoch), with ten rounds an epoch, one second each."""
    run = small_run(**keys, **({"data": data_keys} if data_keys else {}))
    folder = RunFolder(results / run_name(run, "fp32", data))
    folder.create(run.as_dict(), OF_IMAGES)
    folder.write_environment(
        {
            "data": data,
            "data_fingerprint": data,
            "processor": processor,
            "cores": 2,
            "device": "cpu",
            "processes": 1,
        }
    )
    folder.begin_tables()
    for epoch in range(EPOCHS + 1):
        loss = float(np.exp(-rate * epoch))
        values = [20 * epoch, epoch, 10 * epoch, 0.05, loss, loss, loss, 1 - loss / 2, 0.0]
        values += [1.0, 20 * epoch]
        values += [4000 * epoch, 4000 * epoch, 0, 400, 0, 0, 0.1 * epoch, 0.1 * epoch]
        values += [float(epoch), 160.0]
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
                "download_bytes": 0.0,
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
    found = {group.slug: [s.label for s in group.curves] for group in groups(runs)}
    assert found == {
        "toys-mlp-8": ["mini-batch SGD", "PR-SGD, I = 8", "PR-SGD, I = 32", "one-shot averaging"],
        "other-toys-mlp-8": ["PR-SGD, I = 8"],
        "toys-mlp-9": ["PR-SGD, I = 8"],
    }
    [main] = [group for group in groups(runs) if group.slug == "toys-mlp-8"]
    assert [len(curve.runs) for curve in main.curves] == [1, 3, 1, 1]
    assert main.caption == (
        "MLP-8 on toys, N = 2, b = 4, γ = 0.05, mean ± standard deviation of 1 to 3 seeds"
    )


def test_mini_batch_sgd_alone_has_no_figure_of_drift(tmp_path: Path) -> None:
    fixture_run(tmp_path / "runs", algorithm=part("minibatch"))
    report(tmp_path / "runs", tmp_path / "figures")
    [folder] = (tmp_path / "figures").iterdir()
    assert {path.name for path in folder.iterdir()} == (
        FIGURES - {"drift.png", "drift.svg", "drift_data.csv"} | {"summary.md", "summary.csv"}
    )


def test_what_differs_is_in_the_label(tmp_path: Path) -> None:
    fixture_run(tmp_path, lr=0.05)
    fixture_run(tmp_path, lr=0.1)
    fixture_run(tmp_path, lr=0.1, algorithm=part("minibatch"))
    [group] = groups(load(tmp_path)[0])
    assert [curve.label for curve in group.curves] == [
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
    assert [(s.interval, s.config["momentum"]) for s in group.curves] == [
        *((1, 0.5), (1, 0.7), (1, 0.9)),
        *((8, 0.5), (8, 0.7), (8, 0.9)),
    ]


def test_curves_stand_by_the_size_of_what_differs(tmp_path: Path) -> None:
    for epochs in (20, 5, 100, 10):
        fixture_run(tmp_path, epochs=epochs)
    [group] = groups(load(tmp_path)[0])
    assert [curve.config["epochs"] for curve in group.curves] == [5, 10, 20, 100]


def test_means_and_deviations_by_hand(results: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if g.slug == "toys-mlp-8"]
    curve = group.curves[1]
    losses = np.exp([-0.4 * EPOCHS, -0.5 * EPOCHS, -0.6 * EPOCHS])
    target = common_target(group)
    assert target == pytest.approx(np.exp(-0.3 * EPOCHS))
    row = summary(curve, target)
    assert row["training_loss"] == pytest.approx(losses.mean())
    assert row["training_loss_std"] == pytest.approx(losses.std(ddof=1))
    assert row["rounds"] == 50
    assert row["megabytes"] == 0.02
    assert row["train_seconds"] == 5.0
    assert row["images_per_second"] == 100 * 2 * 4 / 5
    slowest = summary(group.curves[2], target)
    assert slowest["rounds_to_target"] == pytest.approx(50)
    assert slowest["seconds_to_target"] == pytest.approx(5)
    assert row["rounds_to_target"] < 50


def test_speeds_over_seeds_are_all_images_over_all_seconds(tmp_path: Path) -> None:
    """160 images a second for 5 s, and half as fast: 1,600 images in 15 s."""
    for seed in (0, 1):
        folder = fixture_run(tmp_path, seed=seed)
    table = pd.read_csv(folder / "metrics.csv")
    table["train_seconds"] *= 2
    table["images_per_second"] /= 2
    table.to_csv(folder / "metrics.csv", index=False)
    [group] = groups(load(tmp_path)[0])
    assert len(group.curves[0].runs) == 2
    assert summary(group.curves[0], 1.0)["images_per_second"] == pytest.approx(1600 / 15)
    speeds = group.curves[0].mean["images_per_second"]
    assert [*speeds] == pytest.approx([120, *[1600 / 15] * EPOCHS])


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
        assert (
            f"figures/{slug}: epochs, rounds, bytes, time, ends, drift (png, svg, data as csv)"
            in said
        )
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


SPEEDUP = {
    "PR-SGD, γ = 0.1, I = 8": {"workers": [1, 2, 4], "interval": 8, "lr": 0.1},
    "PR-SGD, γ = 0.1√N, I = 8": {"workers": [1, 2, 4], "interval": 8, "lr": [0.1, 0.1414, 0.2]},
    "PR-SGD, γ = 0.1N, I = 8": {"workers": [1, 2, 4], "interval": 8, "lr": [0.1, 0.2, 0.4]},
    "PR-SGD, γ = 0.1, I of Corollary 1": {"workers": [1, 2], "interval": [8, 1], "lr": 0.1},
}
WITH_MOMENTUM = {"workers": [1, 2], "interval": 8, "lr": 0.1, "momentum": 0.9}


def declare(folder: Path, **figures: Any) -> None:
    (folder / "figures.yaml").write_text(yaml.safe_dump(figures, allow_unicode=True))


def test_the_lines_of_a_speed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the runs of its rows; one worker's run is in several."""
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
    lines = {label: {**line, "momentum": 0.0, "seed": 0} for label, line in SPEEDUP.items()}
    lines["PR-SGD, γ = 0.1, I = 8, β = 0.9"] = WITH_MOMENTUM
    lines["not trained yet"] = {"workers": [8, 16], "interval": 8, "lr": 0.1}
    declare(tmp_path, speedup={"x": "workers", "y": "steps_to_target", "lines": lines})
    [group] = groups(load(tmp_path)[0])
    spec = specs(group)["speedup"]
    found = lines_of(group, spec)
    assert {
        label: [(c.config["workers"], c.interval, c.config["lr"]) for c in members]
        for label, members in found.items()
    } == {
        "PR-SGD, γ = 0.1, I = 8": [(1, 8, 0.1), (2, 8, 0.1), (4, 8, 0.1)],
        "PR-SGD, γ = 0.1√N, I = 8": [(1, 8, 0.1), (2, 8, 0.1414), (4, 8, 0.2)],
        "PR-SGD, γ = 0.1N, I = 8": [(1, 8, 0.1), (2, 8, 0.2), (4, 8, 0.4)],
        "PR-SGD, γ = 0.1, I of Corollary 1": [(1, 8, 0.1), (2, 1, 0.1)],
        "PR-SGD, γ = 0.1, I = 8, β = 0.9": [(1, 8, 0.1), (2, 8, 0.1)],
    }
    drawn: dict[str, tuple[list[float], list[float]]] = {}
    plot = Axes.plot

    def spy(axes: Axes, x: list[float], y: list[float], *more: Any, **style: Any) -> Any:
        if "label" in style:
            drawn[style["label"]] = list(x), list(y)
        return plot(axes, x, y, *more, **style)

    monkeypatch.setattr(Axes, "plot", spy)
    draw_points(group, spec, found, Sheet(tmp_path / "speedup"))
    workers, steps = drawn["PR-SGD, γ = 0.1, I = 8"]
    target = np.exp(-0.5)  # where one worker ended: exp(-0.1 N epoch), and 20 steps an epoch
    assert common_target(group) == pytest.approx(target)
    assert workers == [1, 2, 4]
    assert steps == pytest.approx([100, 20 * 2.5, 20 * 1.25], rel=0.04)  # linear between rows
    fast = drawn["PR-SGD, γ = 0.1, I = 8, β = 0.9"][1]
    assert fast == pytest.approx([20 * 2.5, 20 * 1.25], rel=0.04)
    assert drawn["ideal: 1/N"] == ([1, 4], [fast[0], fast[0] / 4])
    assert drawn["_"] == ([1, 4], [steps[0], steps[0] / 4])  # the ideal of the others


def looks_of(group: Group, **keys: str) -> dict[str, dict[str, Any]]:
    labels = [curve.label for curve in group.curves]
    return dict(zip(labels, styles(group.curves, Spec(**keys)), strict=True))


def test_an_interval_has_one_colour_in_every_figure(results: Path, tmp_path: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if len(g.curves) == 4]
    colours = {label: look["color"] for label, look in looks_of(group).items()}
    assert colours["mini-batch SGD"] == "black"
    assert len(set(colours.values())) == 4
    alone = fixture_run(tmp_path / "alone", algorithm=part("prsgd", interval=32)).parent
    [other] = groups(load(alone)[0])
    assert looks_of(other)["PR-SGD, I = 32"]["color"] == colours["PR-SGD, I = 32"]
    fixture_run(alone, lr=0.1, algorithm=part("prsgd", interval=32))
    fixture_run(alone, algorithm=part("minibatch"))
    [other] = groups(load(alone)[0])  # intervals do not tell these apart
    looks = looks_of(other)
    assert looks["PR-SGD, I = 32, γ = 0.05"]["color"] != colours["PR-SGD, I = 32"]
    assert looks["PR-SGD, I = 32, γ = 0.1"]["color"] != colours["PR-SGD, I = 32"]
    assert looks["mini-batch SGD, γ = 0.05"]["color"] == "black"


def test_colour_is_the_first_key_that_varies_and_line_style_the_second(tmp_path: Path) -> None:
    for interval in (1, 8):
        for lr in (0.05, 0.1, 0.2):
            for seed in (0, 1):
                algorithm = part("prsgd", interval=interval)
                fixture_run(tmp_path, lr=lr, seed=seed, algorithm=algorithm)
    [group] = groups(load(tmp_path)[0])
    looks = looks_of(group)
    assert [len(curve.runs) for curve in group.curves] == [2] * 6
    for at in ("color", "linestyle", "marker"):
        by_interval = [
            [looks[f"PR-SGD, I = {i}, γ = {lr}"][at] for lr in (0.05, 0.1, 0.2)] for i in (1, 8)
        ]
        if at == "color":
            assert [len(set(same)) for same in by_interval] == [1, 1]
            assert by_interval[0] != by_interval[1]
        else:  # the same for each γ
            assert by_interval[0] == by_interval[1]
            assert len(set(by_interval[0])) == 3
    by_rate = looks_of(group, colour="lr", style="algorithm.interval")
    assert len({look["color"] for look in by_rate.values()}) == 3
    assert len({look["linestyle"] for look in by_rate.values()}) == 2


def test_methods_have_colours_and_what_most_have_is_solid(tmp_path: Path) -> None:
    fixture_run(tmp_path, algorithm=part("minibatch"))
    fixture_run(tmp_path, algorithm=part("prsgd", interval=8), lr=0.01)
    for name in ("prsgd", "slowmo", "diloco", "easgd"):
        fixture_run(tmp_path, algorithm=part(name, interval=8))
    [group] = groups(load(tmp_path)[0])
    looks = looks_of(group)
    assert "linestyle" not in looks.pop("mini-batch SGD")
    one, other = looks["PR-SGD, I = 8, γ = 0.01"], looks["PR-SGD, I = 8"]
    assert one["color"] == other["color"]
    assert one["linestyle"] != other["linestyle"] == "-"
    assert len({look["color"] for look in looks.values()}) == 4
    assert len({look["marker"] for look in looks.values()}) == 5  # told beyond the two keys


def test_panels_of_a_key(tmp_path: Path) -> None:
    """A row for each value; a curve without the key is in all rows, and once in the legend."""
    for interval in (8, 32):
        for momentum_at_sync in ("average", "keep"):
            algorithm = part("prsgd", interval=interval, momentum_at_sync=momentum_at_sync)
            fixture_run(tmp_path, momentum=0.9, algorithm=algorithm)
    fixture_run(tmp_path, momentum=0.9, algorithm=part("minibatch"))
    colour = "algorithm.momentum_at_sync"
    declare(tmp_path, curves={"colour": colour, "panels": "interval"})
    report(tmp_path)
    svg = (tmp_path / "figures/toys-mlp-8/epochs.svg").read_text()
    said = {
        words: svg.count(f">{words}<")
        for words in ("I = 8", "I = 32", "mini-batch SGD", "PR-SGD, momentum_at_sync = keep")
    }
    assert said == dict.fromkeys(said, 1)
    assert ">PR-SGD, I" not in svg
    drift = (tmp_path / "figures/toys-mlp-8/drift.svg").read_text()
    assert ">I = 32<" in drift
    assert "mini-batch SGD" not in drift


def test_a_figure_of_ends_by_any_key(tmp_path: Path) -> None:
    for momentum in (0.0, 0.5, 0.9):
        for partition in ("iid", "by_label"):
            data = part("synthetic", train=160, test=40, size=8, partition=partition)
            fixture_run(tmp_path, momentum=momentum, data_keys=data)
    declare(tmp_path, momentum={"x": "momentum"}, by_time={"x": "virtual_time", "y": "train_loss"})
    report(tmp_path)
    folder = tmp_path / "figures/toys-mlp-8"
    svg = (folder / "momentum.svg").read_text()
    for words in ("momentum β", "PR-SGD, I = 8, partition = iid", "test accuracy"):
        assert words in svg
    assert "virtual time" in (folder / "by_time.svg").read_text()


BAD_FIGURES = {
    "curves: {color: lr}": (
        "curves.color: there is no such key; allowed are colour, style, panels"
    ),
    "speedup: {x: workers, lins: {}}": (
        "speedup.lins: there is no such key; allowed are x, y, colour, style, panels, lines, "
        "minus, slope"
    ),
    "curves: {colour: algorithm.intervall}": (
        "curves.colour=algorithm.intervall: must be a configuration key"
    ),
    "curves: {colour: out}": "curves.colour=out: must be a configuration key",
    "a: {y: train_loss}": "a.x is required: a column of metrics.csv or a configuration key",
    "a: {x: nothing}": "a.x=nothing: must be a column of metrics.csv or a configuration key",
    "a: {x: workers, y: los}": "a.y=los: must be a column of metrics.csv or steps_to_target",
    "a: {x: workers, y: []}": "a.y=[]: must be a column of metrics.csv or steps_to_target",
    "a: {x: epoch, y: steps_to_target}": (
        "a.x=epoch: must be a configuration key with steps_to_target"
    ),
    "a: {x: epoch, minus: {interval: 1}}": "a.x=epoch: must be a configuration key with minus",
    "a: {x: workers, y: steps_to_target, minus: {interval: 1}}": (
        "a.y=steps_to_target: must be a column of metrics.csv with minus"
    ),
    "a: {x: workers, minus: {intervall: 1}}": (
        "a.minus: intervall: there is no such configuration key"
    ),
    "a: {x: workers, minus: I1}": "a.minus=I1: must be a mapping of configuration keys to values",
    "a: {x: workers, slope: down}": "a.slope=down: must be a number",
    "a: {x: workers, lines: [1]}": (
        "a.lines=[1]: must be a mapping of labels to keys and their values"
    ),
    "a: {x: workers, lines: {PR-SGD: {worker: [1, 2]}}}": (
        "a.lines: PR-SGD: worker: there is no such configuration key"
    ),
    "a: {x: workers, lines: {PR-SGD: {workers: [1, 2], lr: [0.1]}}}": (
        "a.lines: PR-SGD: its lists must be equally long"
    ),
    "drift: {x: workers}": "drift: must be a name of at most 80 letters, digits and _, but not",
    "../a: {x: workers}": "../a: must be a name of at most 80 letters, digits and _, but not",
    f"{'a' * 81}: {{x: workers}}": f"{'a' * 81}: must be a name of at most 80 letters",
    "Epochs: {x: lr}": "Epochs: must differ from other figures in more than case",
    "Ends: {x: lr}": "Ends: must differ from other figures in more than case",
    "{a: {x: lr}, A: {x: workers}}": "a: must differ from other figures in more than case",
}


@pytest.mark.parametrize("text", BAD_FIGURES)
def test_what_figures_yaml_may_not_say(tmp_path: Path, text: str) -> None:
    """One line with the file, the key, and what is allowed; nothing is drawn."""
    fixture_run(tmp_path)
    path = tmp_path / "figures.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        report(tmp_path)
    assert str(refusal.value).startswith(f"{path}: {BAD_FIGURES[text]}")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("text", ["curves: [", "curves", "curves: lr", "- curves"])
def test_a_damaged_figures_yaml(tmp_path: Path, text: str) -> None:
    fixture_run(tmp_path)
    (tmp_path / "figures.yaml").write_text(text)
    with pytest.raises(UserError, match=r"figures\.yaml is damaged: it (is not|must be)"):
        report(tmp_path)


def as_version_1(folder: Path) -> None:
    """Rewrite a record's configuration as prsgd 0.1 wrote it: paths of classes, no columns."""
    record = yaml.safe_load((folder / "config.yaml").read_text())
    record = {**record, "version": 1}
    del record["tables"]
    for name in ("metrics.csv", "rounds.csv"):
        records = pd.read_csv(folder / name).drop(columns=[*NEW_COLUMNS], errors="ignore")
        records.to_csv(folder / name, index=False)
    for group in GROUPS:
        cls = known_class(group, record[group])
        assert cls is not None
        own = {key: value for key, value in record[group].items() if key != "name"}
        record[group] = {"_target_": path_of(cls), **own}
    (folder / "config.yaml").write_text(yaml.safe_dump(record, sort_keys=False))


def test_records_of_both_versions_are_one_curve(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = fixture_run(tmp_path, seed=seed, algorithm=part("prsgd", interval=8))
    as_version_1(folder)
    as_version_1(fixture_run(tmp_path, algorithm=part("minibatch")))
    runs, left_out = load(tmp_path)
    assert not left_out
    [group] = groups(runs)
    assert [(c.label, len(c.runs)) for c in group.curves] == [
        ("mini-batch SGD", 1),
        ("PR-SGD, I = 8", 2),
    ]


def test_a_choice_of_a_later_version_is_left_out(tmp_path: Path) -> None:
    folder = fixture_run(tmp_path)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("name: mlp", "name: transformer"))
    [(_, why)] = load(tmp_path)[1]
    assert why.startswith("config.yaml: this version of prsgd has no model={'name': 'transformer'")


def test_unrelated_experiments_have_figures_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The same data and model: what lies in another folder is another experiment."""
    for interval in (4, 8):
        fixture_run(tmp_path / "intervals", algorithm=part("prsgd", interval=interval))
    for lr in (0.05, 0.1):
        fixture_run(tmp_path / "rates/of_all", lr=lr, algorithm=part("minibatch"))
    found = {
        group.folder.name: [c.label for c in group.curves] for group in groups(load(tmp_path)[0])
    }
    assert found == {
        "intervals": ["PR-SGD, I = 4", "PR-SGD, I = 8"],
        "of_all": ["mini-batch SGD, γ = 0.05", "mini-batch SGD, γ = 0.1"],
    }
    report(tmp_path)
    said = capsys.readouterr().out
    drawn = [
        tmp_path / "intervals/figures/toys-mlp-8",
        tmp_path / "rates/of_all/figures/toys-mlp-8",
    ]
    assert all((folder / "epochs.png").exists() for folder in drawn)
    places = [said.index(f"{folder}: epochs") for folder in drawn]
    assert places == sorted(places)
    report(tmp_path, tmp_path / "out")
    for folder in ("intervals", "rates/of_all"):
        assert (tmp_path / "out" / folder / "toys-mlp-8/summary.md").exists()


def test_a_run_folder_has_figures_of_itself(tmp_path: Path) -> None:
    folder = fixture_run(tmp_path, lr=0.1)
    fixture_run(tmp_path, lr=0.2)
    report(folder)
    assert "| PR-SGD, I = 8 | 1 |" in (folder / "figures/toys-mlp-8/summary.md").read_text()
    assert not (tmp_path / "figures").exists()


def test_data_that_changed_under_one_label_have_a_folder_of_their_own(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        folder = fixture_run(tmp_path, lr=lr)
    environment = json.loads((folder / "environment.json").read_text())
    environment["data_fingerprint"] = "changed"
    (folder / "environment.json").write_text(json.dumps(environment))
    found = {g.slug: g.caption for g in groups(load(tmp_path)[0])}
    assert all(re.fullmatch("toys-mlp-8-[0-9a-f]{8}", slug) for slug in found)
    assert len(found) == 2
    assert sorted(found.values()) == [
        "MLP-8 on toys, data changed, N = 2, b = 4, γ = 0.2, I = 8",
        "MLP-8 on toys, data toys, N = 2, b = 4, γ = 0.1, I = 8",
    ]


def test_a_logarithmic_axis_needs_positive_data(tmp_path: Path) -> None:
    """As where every run was there before the first row, and nobody knows after how many steps."""
    figure, axes = plt.subplots()
    axes.plot([0, 0], [0, -1])
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    axes.plot([1, 2], [0.1, 10])
    powers_of_two(axes)
    logarithmic(axes, "y")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    plt.close(figure)
    lines = {"PR-SGD": {"workers": [1, 2]}}
    declare(tmp_path, speedup={"x": "workers", "y": "steps_to_target", "lines": lines})
    fixture_run(tmp_path, 0.0, workers=1)
    fixture_run(tmp_path, 0.0, workers=2)
    report(tmp_path)
    assert (tmp_path / "figures/toys-mlp-8/speedup.png").exists()


def test_times_of_two_machines_do_not_compare(tmp_path: Path) -> None:
    fixture_run(tmp_path, seed=0)
    report(tmp_path, tmp_path / "figures")
    folder = tmp_path / "figures/toys-mlp-8"
    assert (folder / "time.png").exists()
    fixture_run(tmp_path, algorithm=part("prsgd", interval=4), processor="Xeon")
    report(tmp_path, tmp_path / "figures")
    drawn = {path.name for path in folder.iterdir()} - {"summary.md", "summary.csv"}
    assert drawn == FIGURES - {"time.png", "time.svg", "time_data.csv"}
    told = "Times do not compare: these runs are of 2 cores of EPYC (cpu), 2 cores of Xeon (cpu)."
    assert told in (folder / "summary.md").read_text()


def test_a_figure_by_interval_needs_three(results: Path) -> None:
    [group] = [g for g in groups(load(results)[0]) if len(g.curves) == 4]
    assert lines_of(group, specs(group)["intervals"]) == {}
    fixture_run(results, 0.2, algorithm=part("prsgd", interval=64))
    [group] = [g for g in groups(load(results)[0]) if len(g.curves) == 5]
    spec = specs(group)["intervals"]
    lines = lines_of(group, spec)
    assert {label: [curve.interval for curve in line] for label, line in lines.items()} == {
        "mini-batch SGD": [None],
        "PR-SGD": [8, 32, 64],
        "one-shot averaging": [None],
    }
    draw_points(group, spec, lines, Sheet(results / "intervals"))
    assert (results / "intervals.svg").exists()


def test_lists_are_told_apart_in_labels(tmp_path: Path) -> None:
    for speeds in ([1.0, 2.0], [1.0, 4.0]):
        fixture_run(tmp_path, speeds=speeds)
    [group] = groups(load(tmp_path)[0])
    assert {s.label for s in group.curves} == {
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
    for group in groups(load(results)[0]):
        draw_drift(group, Spec(), Sheet(results / "drift"))
    found = sorted(float(value) for values in lines for value in values)
    assert found == pytest.approx(sorted([0.16 * 4, 2.56 * 4, 0.16 * 4, 0.16 * 4]))


def test_figures_are_reproducible(results: Path) -> None:
    for out in ("a", "b"):
        report(results, results / out)
    for path in (results / "a/toys-mlp-8").iterdir():
        assert path.read_bytes() == (results / "b/toys-mlp-8" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "TkAgg"},
        {"MATPLOTLIBRC": "text.usetex: true"},
        {"MATPLOTLIBRC": "font.size: 40\nsavefig.dpi: 7\nsvg.fonttype: path"},
    ],
    ids=str,
)
def test_figures_depend_on_nothing_around_them(tmp_path: Path, environment: dict[str, str]) -> None:
    """As a notebook, a desktop or a user's matplotlibrc would have them."""
    path = fixture_run(tmp_path / "runs", data="$5 and $x_{")
    if rc := environment.get("MATPLOTLIBRC"):
        (tmp_path / "matplotlibrc").write_text(rc)
        environment = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    pictures = []
    for place, more in (("plain", {}), ("odd", environment)):
        report = [sys.executable, "-m", "prsgd", "figures", str(path.parent), "--out", place]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "MATPLOTLIB"))}
        done = subprocess.run(
            report, cwd=tmp_path, env={**clean, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        [svg] = (tmp_path / place).rglob("epochs.svg")
        pictures.append(svg.read_bytes())
    assert pictures[0] == pictures[1]
    assert b"on $5 and $x_{" in pictures[0]


def test_a_copy_of_a_run_is_no_further_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fixture_run(tmp_path / "runs")
    copy = shutil.copytree(first, first.with_name(f"{first.name} (copy)"))
    again = shutil.copytree(first, tmp_path / "runs/elsewhere" / first.name)
    report(tmp_path / "runs", tmp_path / "figures")
    said = capsys.readouterr().out
    assert f"left out: {copy} (it is the same run as {first.name})" in said
    assert str(again) not in said
    assert "seeds" not in (tmp_path / "figures/toys-mlp-8/epochs.svg").read_text()
    fixture_run(tmp_path / "runs", seed=1)
    found = {group.folder.name: group.curves for group in groups(load(tmp_path / "runs")[0])}
    counts = {name: [len(curve.runs) for curve in curves] for name, curves in found.items()}
    assert counts == {"runs": [2], "elsewhere": [1]}


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
    "half a config": "config.yaml is damaged: it lacks algorithm",
    "config": "config.yaml is damaged",
    "cut": "its records are damaged",
    "no metrics": "its records are damaged: [Errno 2]",
    "columns": "a table has other columns: another version of prsgd wrote it",
    "environment": "its records are damaged: 'data'",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_runs_are_named_and_left_out(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture
) -> None:
    fixture_run(tmp_path)
    victim = fixture_run(tmp_path, seed=9)
    damage(victim, how)
    assert report(tmp_path, tmp_path / "figures") == 0
    [line] = [li for li in capsys.readouterr().out.splitlines() if li.startswith("left out")]
    assert victim.name in line
    assert DAMAGES[how] in line


@pytest.mark.parametrize("status", ["running", "diverged", "interrupted", "failed"])
def test_unfinished_runs_are_named_and_left_out(
    tmp_path: Path, status: str, capsys: pytest.CaptureFixture
) -> None:
    path = fixture_run(tmp_path, status=status)
    with pytest.raises(UserError, match="there is no finished run in it"):
        report(tmp_path, tmp_path / "figures")
    why = ": the loss is nan" if status == "diverged" else ""
    assert capsys.readouterr().out == f"left out: {path} ({status}{why})\n"


@pytest.mark.slow
def test_twenty_runs_take_under_ten_seconds_and_no_torch(tmp_path: Path) -> None:
    for seed in range(4):
        for interval in (1, 4, 8, 16, 32):
            fixture_run(tmp_path, seed=seed, algorithm=part("prsgd", interval=interval))
    lines = {"PR-SGD": {"workers": [2], "interval": [1]}}
    declare(tmp_path, speedup={"x": "workers", "y": "steps_to_target", "lines": lines})
    code = (
        "import sys; from prsgd.cli.main import dispatch\n"
        f"assert dispatch(['figures', {str(tmp_path)!r}]) == 0\n"
        "assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)"
    )
    before = spent()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert spent() - before < 10


METRICS = tables_of(OF_IMAGES)["metrics.csv"]


def test_fixture_runs_have_the_layout_of_real_ones(results: Path, train_here: Any) -> None:
    _, folder = train_here(small_run(), "real")
    runs, left_out = load(folder.path)
    assert not left_out
    assert runs[0].data == json.loads((folder.path / "environment.json").read_text())["data"]


def test_only_runs_with_some_values_are_drawn(tmp_path: Path) -> None:
    for interval in (2, 8, 32):
        for lr in (0.05, 0.1):
            fixture_run(tmp_path / "r", algorithm=part("prsgd", interval=interval), lr=lr)
    out = [str(tmp_path / "r"), "--out", str(tmp_path / "out")]

    def labels(*where: str) -> list[str]:
        assert main([*out, *(f"--where={own}" for own in where)]) == 0
        [summary] = (tmp_path / "out").rglob("summary.csv")
        return pd.read_csv(summary)["run"].tolist()

    assert len(labels()) == 6
    assert labels("interval=2,32", "lr=0.1") == ["PR-SGD, I = 2", "PR-SGD, I = 32"]
    assert len(labels("algorithm=prsgd", "lr=1e-1")) == 3


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("interval=4", "no run has that; there are 2"),
        ("lr", "must be KEY=VALUE with a key of the runs, as in interval=8,32"),
        ("rate=3", "must be KEY=VALUE with a key of the runs, as in interval=8,32"),
    ],
)
def test_values_that_no_run_has(tmp_path: Path, where: str, line: str) -> None:
    fixture_run(tmp_path, algorithm=part("prsgd", interval=2))
    with pytest.raises(UserError) as caught:
        main([str(tmp_path), f"--where={where}"])
    assert str(caught.value) == f"--where={where}: {line}"
