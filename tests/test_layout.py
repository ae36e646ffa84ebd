"""Figures that can be read: few curves in a panel, short legends, letters of 8 points."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import part
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from test_report import declare, fixture_run

from prsgd.cli.figures import main
from prsgd.errors import UserError
from prsgd.report import Asked, report
from prsgd.report import sheet as sheets
from prsgd.report.curves import Group, groups
from prsgd.report.layout import MOST_IN_PANEL, Layout, layout
from prsgd.report.lines import in_lines
from prsgd.report.points import scale_x
from prsgd.report.runs import load
from prsgd.report.scales import write_numbers_alike
from prsgd.report.specs import Spec
from prsgd.report.style import BEHIND, drawing

METHODS = ("prsgd", "slowmo", "diloco", "easgd")


def group_of(folder: Path) -> Group:
    [group] = groups(load(folder)[0])
    return group


def laid_out(folder: Path, **look: str) -> Layout:
    return layout(group_of(folder), Spec("epoch", **look))


def in_colours(found: Layout) -> set[str]:
    return {name for name, look in found.looks.items() if look is not BEHIND}


def rate_of(place: int) -> float:
    return 0.5 + 0.01 * place  # the later, the lower the loss at the end


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Eleven rates, and mini-batch SGD, which ends with the highest loss."""
    for place in range(11):
        fixture_run(tmp_path, rate_of(place), lr=0.01 * (place + 1))
    fixture_run(tmp_path, 0.1, lr=0.01, algorithm=part("minibatch"))
    return tmp_path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Three intervals at three rates, and mini-batch SGD."""
    for interval in (2, 8, 32):
        for lr in (0.05, 0.1, 0.2):
            fixture_run(tmp_path, 10 * lr, lr=lr, algorithm=part("prsgd", interval=interval))
    fixture_run(tmp_path, lr=0.1, algorithm=part("minibatch"))
    return tmp_path


def test_the_best_eight_curves_stand_in_front_of_the_others(many: Path) -> None:
    found = laid_out(many)
    assert in_colours(found) == {
        "mini-batch SGD, γ = 0.01",  # a baseline is never grey
        *(f"PR-SGD, I = 8, γ = {0.01 * place:g}" for place in range(5, 12)),
    }
    assert [name for name, look in found.looks.items() if look is BEHIND] == ["4 others"]
    [(_, row)] = found.rows
    assert len(row) == 12  # the others are drawn too
    assert sum(map(found.is_behind, row)) == 4
    colours = [str(look["color"]) for look in found.looks.values()]
    assert len({*colours}) == len(colours)


def test_a_single_other_is_one(tmp_path: Path) -> None:
    for place in range(9):
        fixture_run(tmp_path, rate_of(place), lr=0.01 * (place + 1))
    assert [*laid_out(tmp_path).looks][-1] == "1 other"


def test_what_must_stand_in_front_does(many: Path) -> None:
    group = group_of(many)
    worst = next(curve for curve in group.curves if curve.label == "PR-SGD, I = 8, γ = 0.01")
    found = layout(group, Spec("epoch"), in_front=[worst], may_part=False)
    assert not found.is_behind(worst)
    assert len(in_colours(found)) == MOST_IN_PANEL


def test_nine_curves_that_two_things_tell_apart_are_parted_into_rows(grid: Path) -> None:
    """A row for each interval, in which colours are rates; the baseline stands in all rows."""
    found = laid_out(grid)
    titles = [title for title, _ in found.rows]
    assert titles == ["PR-SGD, I = 2", "PR-SGD, I = 8", "PR-SGD, I = 32"]
    for title, row in found.rows:
        assert [curve.label for curve in row] == [
            "mini-batch SGD, γ = 0.1",
            *(f"{title}, γ = {lr}" for lr in (0.05, 0.1, 0.2)),
        ]
    assert [*found.looks] == ["mini-batch SGD, γ = 0.1", "γ = 0.05", "γ = 0.1", "γ = 0.2"]
    assert len({str(look["color"]) for look in found.looks.values()}) == 4


def test_one_legend_explains_colours_and_line_styles(grid: Path) -> None:
    """Six curves and a baseline: 1 + 3 + 2 entries in place of 7."""
    folder = grid / "smaller"
    for interval in (2, 8, 32):
        for lr in (0.05, 0.1):
            fixture_run(folder, 10 * lr, lr=lr, algorithm=part("prsgd", interval=interval))
    fixture_run(folder, lr=0.2, algorithm=part("minibatch"))
    found = laid_out(folder)
    assert len(found.rows) == 1
    assert [*found.legend] == [
        "mini-batch SGD, γ = 0.2",
        *(f"PR-SGD, I = {interval}" for interval in (2, 8, 32)),
        *("γ = 0.05", "γ = 0.1"),
    ]
    assert len(found.looks) == 7
    for interval in (2, 8, 32):
        of_colour = found.legend[f"PR-SGD, I = {interval}"]
        for lr in (0.05, 0.1):
            of_style = found.legend[f"γ = {lr}"]
            drawn = found.looks[f"PR-SGD, I = {interval}, γ = {lr}"]
            assert drawn["color"] == of_colour["color"]
            assert [drawn[at] for at in ("linestyle", "marker")] == [
                of_style[at] for at in ("linestyle", "marker")
            ]
    report(folder, folder / "figures")
    svg = (folder / "figures/toys-mlp-8/epochs.svg").read_text()
    for entry in found.legend:
        assert svg.count(f">{entry}<") == 1


def test_a_third_difference_is_not_explained_by_two(grid: Path) -> None:
    fixture_run(grid, lr=0.1, momentum=0.9)
    found = laid_out(grid)
    assert len(found.rows) == 1
    assert not found.legend
    assert len(in_colours(found)) == MOST_IN_PANEL


def test_rows_that_are_asked_for_stay(many: Path) -> None:
    for place in range(9):
        fixture_run(many, rate_of(place), lr=0.01 * (place + 1), workers=4)
    found = laid_out(many, panels="workers")
    assert [title for title, _ in found.rows] == ["N = 2", "N = 4"]
    assert len(in_colours(found)) == MOST_IN_PANEL


def test_rows_of_methods_are_called_as_the_methods_are(many: Path) -> None:
    fixture_run(many, algorithm=part("minibatch"))
    rows = laid_out(many, panels="algorithm").rows
    assert [title for title, _ in rows] == ["mini-batch SGD", "PR-SGD"]


def test_a_picture_has_few_colours_and_a_white_ground(many: Path) -> None:
    report(many, asked=Asked(formats=("png",)))
    for path in many.glob("figures/*/*.png"):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            counts = picture.convert("RGB").getcolors() or ()
        colours = {colour: count for count, colour in counts}
        assert max(colours, key=colours.__getitem__) == (255, 255, 255)
        assert (254, 254, 254) not in colours


def test_of_more_than_eight_lines_of_points_the_others_are_grey(tmp_path: Path) -> None:
    for place in range(10):
        for interval in (1, 2, 4):
            algorithm = part("prsgd", interval=interval)
            fixture_run(tmp_path, rate_of(place), lr=0.01 * (place + 1), algorithm=algorithm)
    report(tmp_path)
    folder = tmp_path / "figures/toys-mlp-8"
    svg = (folder / "intervals.svg").read_text()
    assert ">2 others<" in svg
    shown = [place for place in range(10) if f">PR-SGD, γ = {0.01 * (place + 1):g}<" in svg]
    assert shown == [*range(2, 10)]
    assert len(pd.read_csv(folder / "intervals_data.csv")) == 30


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """All figures that are written, laid out as they are."""
    found: list[Figure] = []
    write = sheets.write

    def keeping(figure: Figure, sheet: sheets.Sheet) -> None:
        write(figure, sheet)
        figure.draw_without_rendering()  # at the figure's own resolution again
        found.append(figure)

    monkeypatch.setattr("prsgd.report.sheet.write", keeping)
    return found


@pytest.mark.parametrize(("width", "inches"), [("column", 3.4), ("page", 7.0)])
def test_letters_can_be_read_and_nothing_overlaps(
    many: Path, drawn: list[Figure], width: str, inches: float
) -> None:
    long = "algorithm.momentum_at_sync"
    fixture_run(many, 2, momentum=0.9, algorithm=part("prsgd", interval=8, momentum_at_sync="keep"))
    declare(many, lines={"x": "lr"}, rows={"x": "round", "panels": long})
    report(many, asked=Asked(width=width, formats=("png",)))
    assert len(drawn) == 8
    for figure in drawn:
        assert figure.get_figwidth() == inches
        words = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert {text.get_fontsize() for text in words} == {8.0}
        whole = figure.bbox.padded(1)
        panels = [axes.get_tightbbox() for axes in figure.axes]
        heading = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
        legends = [legend.get_window_extent() for legend in figure.legends]
        for box in [*panels, heading, *legends]:
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1
        assert heading.y0 >= max(box.y1 for box in panels) - 3  # its box is higher than its words
        for legend in legends:
            lowest, highest = min(b.y0 for b in panels), max(b.y1 for b in panels)
            assert legend.y1 <= lowest + 1
            assert legend.height <= highest - lowest  # no taller than the plots


CAPTION = (
    "ResNet-8 on a fifth of CIFAR-10 (JPEG), N = 8, b = 32, mean ± standard deviation of 3 seeds"
)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([5.0, 10.0, 20.0, 40.0], ["5", "10", "20", "40"]),
        ([0.0, 0.5, 0.9], ["0", "0.5", "0.9"]),
        ([0.4, 0.7, 0.7, 1.0], ["0.4", "0.7", "1"]),
        ([5.0, 5.5, 6.0, 40.0], ["5", "", "6", "40"]),
        ([0.0, 0.9, 0.95, 0.99], ["0", "0.9", "", ""]),
    ],
)
def test_a_few_values_have_a_tick_each(values: list[float], ticks: list[str]) -> None:
    axes = Figure().add_subplot()
    axes.plot(values, values)
    scale_x(axes, values)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    assert [label.get_text() for label in axes.get_xticklabels()] == ticks
    assert not axes.xaxis.get_minorticklocs().size


def sizes(text: str) -> float:
    figure = plt.figure()
    width = figure.text(0, 0, text).get_window_extent().width / figure.dpi
    plt.close(figure)
    return float(width)


@pytest.mark.parametrize("inches", [1.2, 2.0, 3.3, 5.4, 9.0])
def test_lines_of_a_text_fit_and_are_about_as_long(inches: float) -> None:
    with drawing():
        lines = in_lines(CAPTION, inches)
        widths = [sizes(line) for line in lines]
        assert " ".join(lines) == CAPTION
        assert max(widths) <= inches
        assert not any(re.search("(^= )|( =$)", line) for line in lines)
        assert len(lines) == 1 or widths[-1] > 0.4 * max(widths)  # no lone "seeds"
        assert len(lines) <= sizes(CAPTION) / inches * 1.3 + 1


def test_a_word_wider_than_a_line_is_cut() -> None:
    with drawing():
        lines = in_lines("数" * 60, 1.0)
        assert "".join(lines) == "数" * 60
        assert max(map(sizes, lines)) <= 1.0
        assert in_lines("", 1.0) == [""]
        assert in_lines("ab cd", 0.01) == ["a", "b", "c", "d"]


def test_a_figure_of_many_panels_is_drawn(grid: Path) -> None:
    columns = [*pd.read_csv(next(grid.glob("*/metrics.csv"))).columns]
    declare(grid, all={"x": "round", "y": columns})
    report(grid)
    assert (grid / "figures/toys-mlp-8/all.png").exists()


def value_of(text: str) -> float:
    mantissa, power = re.fullmatch("([0-9.,]*?)(?: × )?(?:10([⁻⁰-⁹¹²³]+))?", text).groups()  # type: ignore[union-attr]
    exponent = (power or "⁰").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    return float(mantissa.replace(",", "") or 1) * 10.0 ** int(exponent)


NUMBERS = {
    (0.0, 5000.0, "linear"): ["0", "2,000", "4,000"],
    (0.2, 0.6, "linear"): ["0.2", "0.4", "0.6"],
    (1.0, 1e5, "log"): ["1", "10", "100", "1,000", "10,000", "100,000"],
    (1e-5, 1.0, "log"): ["10⁻⁵", "10⁻³", "10⁻¹"],
    (0.0, 2e7, "linear"): ["0", "10⁷", "2 × 10⁷"],
}


@pytest.mark.parametrize(("axis", "words"), NUMBERS.items(), ids=str)
def test_numbers_are_written_alike_on_all_axes(
    axis: tuple[float, float, str], words: list[str]
) -> None:
    low, high, scale = axis
    figure, axes = plt.subplots()
    axes.set(xlim=(low, high), xscale=scale)
    write_numbers_alike(figure)
    style = axes.xaxis.get_major_formatter()
    assert [style(value_of(text)) for text in words] == words
    axes.set_yticks([0, 1], ["some", "words"])
    write_numbers_alike(figure)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["some", "words"]
    plt.close(figure)


def test_the_data_of_every_figure_are_beside_it(tmp_path: Path) -> None:
    for seed, rate in ((0, 0.5), (1, 0.7)):
        fixture_run(tmp_path, rate, seed=seed, algorithm=part("prsgd", interval=8))
    fixture_run(tmp_path, 0.4, algorithm=part("prsgd", interval=4))
    fixture_run(tmp_path, 0.3, algorithm=part("prsgd", interval=2))
    report(tmp_path)
    folder = tmp_path / "figures/toys-mlp-8"
    drawn = {path.stem for path in folder.glob("*.png")}
    assert {path.name for path in folder.glob("*_data.csv")} == {f"{n}_data.csv" for n in drawn}
    epochs = pd.read_csv(folder / "epochs_data.csv").set_index(["curve", "epoch"])
    both = np.exp(-0.5 * 3), np.exp(-0.7 * 3)
    row = epochs.loc["PR-SGD, I = 8", 3]
    assert row["consensus_train_loss"] == pytest.approx(np.mean(both), rel=1e-5)
    assert row["consensus_train_loss_deviation"] == pytest.approx(np.std(both, ddof=1), rel=1e-5)
    assert np.isnan(epochs.loc["PR-SGD, I = 4", 3]["consensus_train_loss_deviation"])
    ends = pd.read_csv(folder / "ends_data.csv")
    assert [*ends["curve"]] == ["PR-SGD, I = 8", "PR-SGD, I = 4", "PR-SGD, I = 2"]  # the best first
    assert [*ends["seeds"]] == [2, 1, 1]
    drift = pd.read_csv(folder / "drift_data.csv")
    first = drift[drift["curve"] == "PR-SGD, I = 4"].iloc[0]
    assert [*first[["round", "step", "drift"]]] == [1, 2, 0.1]
    assert first["bound"] == pytest.approx(4 * (0.05 * 4) ** 2)
    points = pd.read_csv(folder / "intervals_data.csv")
    assert [*points["algorithm.interval"]] == [2, 4, 8]
    assert points["consensus_train_loss"].iloc[0] == pytest.approx(np.exp(-0.3 * 5), rel=1e-5)


@pytest.fixture
def asking(grid: Path) -> Iterator[Any]:
    def ask(*arguments: str) -> set[str]:
        assert main([str(grid), "--out", str(grid / "out"), *arguments]) == 0
        return {path.name for path in (grid / "out/toys-mlp-8").iterdir()}

    return ask


def test_a_figure_that_is_asked_for_is_the_only_one(asking: Any) -> None:
    name = "test_loss_and_train_loss_by_round"
    files = asking("--x=round", "--y=test_loss,train_loss")
    assert files == {f"{name}.png", f"{name}.svg", f"{name}_data.csv"}


def test_a_figure_of_points_that_is_asked_for(asking: Any, grid: Path) -> None:
    files = asking("--x=lr", "--y=steps_to_target", "--format=pdf")
    assert files == {"steps_to_target_by_lr.pdf", "steps_to_target_by_lr_data.csv"}
    assert (grid / "out/toys-mlp-8/steps_to_target_by_lr.pdf").read_bytes().startswith(b"%PDF")
    points = pd.read_csv(grid / "out/toys-mlp-8/steps_to_target_by_lr_data.csv")
    assert {*points["lr"]} == {0.05, 0.1, 0.2}


def test_a_key_that_is_a_column_too_is_the_key(asking: Any, grid: Path) -> None:
    """The column lr is the rate in a step; on an axis lr is what was chosen."""
    asking("--x=lr", "--y=test_loss", "--format=png")
    points = pd.read_csv(grid / "out/toys-mlp-8/test_loss_by_lr_data.csv")
    assert {*points["lr"]} == {0.05, 0.1, 0.2}
    declare(grid, rates={"x": "lr", "y": "test_loss"})
    report(grid, asked=Asked(formats=("png",)))
    points = pd.read_csv(grid / "figures/toys-mlp-8/rates_data.csv")
    assert {*points["lr"]} == {0.05, 0.1, 0.2}


def test_whole_numbers_from_zero_on_are_all_drawn(tmp_path: Path) -> None:
    for delay in (0, 1, 2, 4):
        algorithm = part("prsgd", interval=8, delay=delay)
        fixture_run(tmp_path, rate_of(delay), delay=delay, algorithm=algorithm)
    axes = Figure().add_subplot()
    scale_x(axes, [0, 1, 2, 4])
    assert axes.get_xscale() == "linear"
    assert [*axes.get_xticks()] == [0, 1, 2, 4]
    declare(tmp_path, cost={"x": "delay", "y": "test_loss", "slope": 1})
    report(tmp_path, asked=Asked(formats=("png",)))
    points = pd.read_csv(tmp_path / "figures/toys-mlp-8/cost_data.csv")
    assert sorted(points["algorithm.delay"]) == [0, 1, 2, 4]


def test_a_network_and_an_axis_of_records_do_not_go_together(asking: Any) -> None:
    with pytest.raises(UserError) as caught:
        asking("--x=train_seconds", "--bandwidth-mbit=100")
    assert str(caught.value) == (
        "--x and --y draw what was recorded; leave them out to draw time on another network"
    )


def test_the_axis_that_is_not_said_is_the_usual_one(asking: Any) -> None:
    assert "test_loss_by_epoch.svg" in asking("--y=test_loss")
    assert "curves_by_images.svg" in asking("--x=images", "--format=svg")


def test_a_column_that_a_run_lacks_is_on_no_axis(grid: Path, asking: Any) -> None:
    """Records of before have fewer columns."""
    assert "wait_seconds_by_epoch.png" in asking("--y=wait_seconds")
    metrics = next(grid.glob("*/metrics.csv"))
    pd.read_csv(metrics).drop(columns="wait_seconds").to_csv(metrics, index=False)
    config = metrics.with_name("config.yaml")
    config.write_text(re.sub(r"\bwait_seconds, |- wait_seconds\n *", "", config.read_text()))
    with pytest.raises(UserError, match=r"^--y=wait_seconds: must be columns of metrics\.csv"):
        asking("--y=wait_seconds")


def test_axes_that_no_run_has(asking: Any) -> None:
    with pytest.raises(UserError) as caught:
        asking("--x=tokens", "--y=accuracy")
    assert str(caught.value).startswith(
        "--x=tokens --y=accuracy: must be columns of metrics.csv; x may be a configuration key, "
        "and y then steps_to_target; columns are "
    )
    assert "test_accuracy" in str(caught.value)


def test_formats_that_there_are_not(asking: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asking("--format=png,jpg")
    said = "argument --format: png,jpg: must be one or more of png, svg, pdf"
    assert said in capsys.readouterr().err
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        asking("--width=poster")


def test_groups_without_such_an_axis_are_left_out(asking: Any, grid: Path) -> None:
    fixture_run(grid, data="others", algorithm=part("minibatch"))
    asking("--x=interval", "--y=train_loss")
    assert [path.name for path in (grid / "out").iterdir()] == ["toys-mlp-8"]
