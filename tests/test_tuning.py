"""Curves at their best values: what decides, what was tried, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import part
from matplotlib.axes import Axes
from test_report import declare, fixture_run

from prsgd.cli.figures import main
from prsgd.errors import UserError
from prsgd.report import Asked, report
from prsgd.report.asked import tuned
from prsgd.report.attempts import attempts
from prsgd.report.curves import Group, groups
from prsgd.report.declared import Best
from prsgd.report.room import shown_of
from prsgd.report.runs import load
from prsgd.report.sheet import Sheet
from prsgd.report.specs import specs
from prsgd.report.style import drawing, styles
from prsgd.report.tables import write_summary
from prsgd.report.tried import draw_tried

PRSGD = part("prsgd", interval=8)


def a_sweep(folder: Path) -> None:
    """Mini-batch SGD ends the lowest at the largest rate of three, PR-SGD at the middle one."""
    for lr, rate in ((0.1, 0.3), (0.2, 0.4), (0.4, 0.6)):
        fixture_run(folder, rate, lr=lr, algorithm=part("minibatch"))
    for lr, rate in ((0.1, 0.3), (0.2, 0.5), (0.4, 0.4)):
        fixture_run(folder, rate, lr=lr, algorithm=PRSGD)


def the_group(folder: Path, *keys: str, **by: str) -> Group:
    """The only group under a folder, at its best values of these keys, or as it declares."""
    runs, left_out = load(folder)
    asked = Best(keys, **by) if keys else None
    [group] = tuned(groups(runs), attempts(path for path, _ in left_out), asked)
    return group


def labels(group: Group) -> list[str]:
    return [curve.label for curve in group.curves]


def worse_in(column: str, folder: Path, value: float) -> None:
    """Give a run another end in one column."""
    table = pd.read_csv(folder / "metrics.csv")
    table.loc[table.index[-1], column] = value
    table.to_csv(folder / "metrics.csv", index=False)


def test_each_curve_is_drawn_at_its_best_value(tmp_path: Path) -> None:
    """With the value in its label, even where most curves have the same."""
    a_sweep(tmp_path)
    assert len(the_group(tmp_path).curves) == 6
    group = the_group(tmp_path, "lr")
    assert labels(group) == ["mini-batch SGD, γ = 0.4", "PR-SGD, I = 8, γ = 0.2"]
    assert group.caption == "MLP-8 on toys, N = 2, b = 4, each at its best γ by training loss"
    fixture_run(tmp_path, 0.9, lr=0.4, algorithm=PRSGD, seed=1)  # of no seed that all have
    for name in ("slowmo", "easgd"):
        fixture_run(tmp_path, 0.9, lr=0.4, algorithm=part(name, interval=8))
    more = the_group(tmp_path, "lr")
    assert {*labels(more)} == {
        *labels(group),
        "SlowMo, I = 8, γ = 0.4",
        "EASGD, I = 8, γ = 0.4",
    }
    assert more.caption == group.caption


def test_the_mean_over_the_seeds_that_all_values_have_decides(tmp_path: Path) -> None:
    """0.2 ends lower in seed 0, and in the mean over all seeds, but not over seeds 0 and 1."""
    for seed, of_01, of_02 in ((0, 0.3, 0.6), (1, 0.9, 0.3)):
        fixture_run(tmp_path, of_01, lr=0.1, seed=seed)
        fixture_run(tmp_path, of_02, lr=0.2, seed=seed)
    fixture_run(tmp_path, 2.0, lr=0.2, seed=2)
    fixture_run(tmp_path, 0.3, lr=0.1, seed=3)
    group = the_group(tmp_path, "lr")
    assert labels(group) == ["PR-SGD, I = 8, γ = 0.1"]
    assert len(group.curves[0].runs) == 3  # all that finished are drawn
    mean_of_two = np.exp([-1.5, -4.5]).mean()
    assert f"| **0.1: {mean_of_two:.4f}**, " in write_summary(group, tmp_path)
    assert "| 0.1 | 2 |" in write_summary(group, tmp_path)


def test_values_without_a_common_seed_do_not_compare(tmp_path: Path) -> None:
    one = fixture_run(tmp_path, lr=0.1, seed=0)
    other = fixture_run(tmp_path, lr=0.2, seed=1)
    with pytest.raises(UserError) as refusal:
        report(tmp_path, asked=Asked(best=Best(["lr"])))
    assert str(refusal.value) in {
        f"{path} and its runs at other values of lr share no seed; train one seed at all of them"
        for path in (one, other)
    }


def test_what_diverged_was_tried_and_is_never_the_best(tmp_path: Path) -> None:
    """Not even where another seed of it ended the lowest. It also says where the edge is."""
    a_sweep(tmp_path)
    fixture_run(tmp_path, lr=0.8, algorithm=part("minibatch"), status="diverged")
    fixture_run(tmp_path, 2.0, lr=0.8, algorithm=PRSGD)
    fixture_run(tmp_path, lr=0.8, algorithm=PRSGD, seed=1, status="diverged")
    group = the_group(tmp_path, "lr")
    assert labels(group) == ["mini-batch SGD, γ = 0.4", "PR-SGD, I = 8, γ = 0.2"]
    text = write_summary(group, tmp_path)
    assert (
        "| mini-batch SGD | 0.1: 0.2231, 0.2: 0.1353, **0.4: 0.0498**, 0.8: diverged | 0.4 | 1 |"
    ) in text
    assert "**0.2: 0.0821**, 0.4: 0.1353, 0.8: diverged | 0.2 | 1 |" in text
    assert "As many values were tried for each curve: 4." in text
    assert "edge" not in text


def test_what_is_unfinished_was_tried_and_does_not_move_the_edge(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    fixture_run(tmp_path, lr=0.8, algorithm=part("minibatch"), status="running")
    text = write_summary(the_group(tmp_path, "lr"), tmp_path)
    assert "**0.4: 0.0498**, 0.8: unfinished | 0.4 | 1 |" in text
    assert (
        "These are best at the edge of what was tried, and may be better beyond it: "
        "mini-batch SGD at γ = 0.4.\n"
    ) in text
    assert (
        "Not as many values were tried for each curve, which is no fair comparison: "
        "4 for mini-batch SGD; 3 for PR-SGD, I = 8.\n"
    ) in text


def test_the_smallest_value_is_an_edge_and_words_have_none(tmp_path: Path) -> None:
    for momentum, rate in ((0.1, 0.5), (0.5, 0.4)):
        for how, better in (("average", 0.0), ("keep", 0.1)):
            algorithm = part("prsgd", interval=8, momentum_at_sync=how)
            fixture_run(tmp_path, rate + better, momentum=momentum, algorithm=algorithm)
    keys = "momentum", "algorithm.momentum_at_sync"
    text = write_summary(the_group(tmp_path, *keys), tmp_path)
    assert "may be better beyond it: PR-SGD, I = 8 at β = 0.1.\n" in text
    assert "**0.1 and keep: 0.0498**, 0.5 and average: 0.1353, 0.5 and keep: 0.0821 |" in text


def test_a_value_without_a_further_key_belongs_to_all_values_of_that_key(tmp_path: Path) -> None:
    """A run without momentum has no momentum_at_sync, and was tried for each of them."""
    for how, rates in (("average", (0.5, 0.3)), ("keep", (0.4, 0.6))):
        algorithm = part("prsgd", interval=8, momentum_at_sync=how)
        for momentum, rate in zip((0.5, 0.9), rates, strict=True):
            fixture_run(tmp_path, rate, momentum=momentum, algorithm=algorithm)
    fixture_run(tmp_path, 0.2, momentum=0.0, algorithm=part("prsgd", interval=8))
    group = the_group(tmp_path, "momentum")
    text = write_summary(group, tmp_path)
    assert "average | 0: 0.3679, **0.5: 0.0821**, 0.9: 0.2231 | 0.5 | 1 |" in text
    assert "keep | 0: 0.3679, 0.5: 0.1353, **0.9: 0.0498** | 0.9 | 1 |" in text
    assert "As many values were tried for each curve: 3." in text
    of_both = the_group(tmp_path, "momentum", "momentum_at_sync")
    text = write_summary(of_both, tmp_path)
    assert "| PR-SGD, I = 8 | 0: 0.3679, 0.5 and average: 0.0821, 0.5 and keep: 0.1353, " in text
    assert "**0.9 and keep: 0.0498** | 0.9 and keep | 1 |" in text
    best = Best(["momentum", "momentum_at_sync"])
    assert report(tmp_path, asked=Asked(best=best, formats=("png",))) == 0
    data = pd.read_csv(tmp_path / "figures/toys-mlp-8/tried_momentum_at_sync_data.csv")
    assert sorted(data["algorithm.momentum_at_sync"]) == ["average", "keep"]


def test_a_best_value_without_a_further_key_is_drawn(tmp_path: Path) -> None:
    for momentum, rate in ((0.0, 0.7), (0.5, 0.4), (0.9, 0.3)):
        fixture_run(tmp_path, rate, momentum=momentum, algorithm=PRSGD)
    fixture_run(
        *(tmp_path, 0.2),
        momentum=0.5,
        algorithm=part("prsgd", interval=8, momentum_at_sync="reset"),
    )
    best = Best(["momentum", "momentum_at_sync"])
    assert report(tmp_path, asked=Asked(best=best, formats=("png",))) == 0
    [group] = [the_group(tmp_path, *best.keys)]
    assert labels(group) == ["PR-SGD, I = 8, β = 0"]
    assert not pd.read_csv(tmp_path / "figures/toys-mlp-8/tried_momentum_at_sync_data.csv")[
        "best"
    ].any()


def test_what_is_not_asked_for_was_not_tried(tmp_path: Path) -> None:
    """Neither a diverged run of other workers, nor one of another seed."""
    for lr, rate in ((0.1, 0.3), (0.2, 0.5)):
        fixture_run(tmp_path, rate, lr=lr, algorithm=PRSGD)
    fixture_run(tmp_path, lr=0.1, workers=4, algorithm=PRSGD)
    fixture_run(tmp_path, lr=0.2, workers=4, algorithm=PRSGD, status="diverged")
    fixture_run(tmp_path, lr=0.2, algorithm=PRSGD, seed=1, status="diverged")
    fixture_run(tmp_path, lr=0.8, workers=8, algorithm=PRSGD, status="diverged")
    asked = Asked(best=Best(["lr"]), where=["workers=2", "seed=0"], formats=("png",))
    assert report(tmp_path, asked=asked) == 0
    text = (tmp_path / "figures/toys-mlp-8/summary.md").read_text()
    assert "0.1: 0.2231, **0.2: 0.0821** | 0.2 | 1 |" in text
    assert "diverged" not in text


def test_what_never_began_or_lies_elsewhere_was_not_tried(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    for lr, spoiled in ((0.8, "environment.json"), (1.6, "config.yaml")):
        run = fixture_run(tmp_path, lr=lr, algorithm=PRSGD, status="interrupted")
        (run / spoiled).unlink()
    fixture_run(tmp_path, lr=3.2, algorithm=PRSGD, data="others", status="diverged")
    fixture_run(tmp_path / "b", lr=3.2, algorithm=PRSGD, status="diverged")
    wider = part("mlp", width=9)
    fixture_run(tmp_path, lr=3.2, algorithm=PRSGD, model=wider, status="diverged")
    text = write_summary(the_group(tmp_path, "lr"), tmp_path)
    assert "As many values were tried for each curve: 3." in text
    assert "not drawn" not in text


def test_a_curve_that_finished_at_no_value_is_named(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    lost = [
        fixture_run(tmp_path, lr=lr, algorithm=part("slowmo", interval=8), status="diverged").name
        for lr in (0.1, 0.2)
    ]
    text = write_summary(the_group(tmp_path, "lr"), tmp_path)
    missing = "diverged or are unfinished at every value are not drawn; a run of each: "
    assert f"Curves that {missing}{min(lost)}.\n" in text


def test_no_curve_that_finished_is_one_line(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        fixture_run(tmp_path, lr=lr, seed=0)
        fixture_run(tmp_path, lr=lr, seed=1, status="diverged")
    with pytest.raises(UserError) as refusal:
        report(tmp_path, asked=Asked(best=Best(["lr"])))
    assert str(refusal.value) == (
        f"{tmp_path}: a seed of each curve diverged at every value of lr that finished; "
        "none is the best"
    )


def test_another_column_may_decide(tmp_path: Path) -> None:
    """A loss the lower, an accuracy the higher; one without a number is not the best."""
    low = fixture_run(tmp_path, 0.6, lr=0.1)
    middle = fixture_run(tmp_path, 0.5, lr=0.2)
    worse_in("test_loss", low, 0.9)
    worse_in("test_accuracy", middle, 0.1)
    of_unknown = fixture_run(tmp_path, 0.4, lr=0.4)
    worse_in("test_loss", of_unknown, float("nan"))
    best = {
        by: the_group(tmp_path, "lr", by=by).curves[0].config["lr"]
        for by in ("consensus_train_loss", "test_loss", "test_accuracy")
    }
    assert best == {"consensus_train_loss": 0.1, "test_loss": 0.2, "test_accuracy": 0.1}
    group = the_group(tmp_path, "lr", by="test_accuracy")
    assert group.caption.endswith("each at its best γ by test accuracy")
    assert "**0.1: 97.51%**, 0.2: 10.00%" in write_summary(group, tmp_path)
    assert "0.4: nan" in write_summary(the_group(tmp_path, "lr", by="test_loss"), tmp_path)


def test_several_keys_and_a_method_that_has_one_of_them(tmp_path: Path) -> None:
    """`outer_lr` is short for the algorithm's; more values for one method are no equal budget."""
    for lr in (0.1, 0.2):
        fixture_run(tmp_path, 1 - lr, lr=lr, algorithm=part("minibatch"))
        for outer in (0.5, 0.7, 0.9):
            algorithm = part("diloco", interval=8, outer_lr=outer)
            fixture_run(tmp_path, lr + 0.6 - abs(outer - 0.7), lr=lr, algorithm=algorithm)
    report(tmp_path, asked=Asked(best=Best(["lr", "outer_lr"])))
    folder = tmp_path / "figures/toys-mlp-8"
    text = (folder / "summary.md").read_text()
    assert "| mini-batch SGD, γ = 0.1 | 1 |" in text
    assert "| DiLoCo, I = 8, γ = 0.2, outer_lr = 0.7 | 1 |" in text
    assert "each at its best γ and outer_lr by training loss" in text
    assert "no fair comparison: 2 for mini-batch SGD; 6 for DiLoCo, I = 8." in text
    assert "beyond it: mini-batch SGD at γ = 0.1; DiLoCo, I = 8 at γ = 0.2." in text
    rows = pd.read_csv(folder / "summary.csv")
    assert [*rows["lr"]] == [0.1, 0.2]
    assert [*rows["algorithm.outer_lr"].fillna(-1)] == [-1, 0.7]
    assert [*rows["tried"]] == [2, 6]
    assert (folder / "tried.png").exists()
    further = (folder / "tried_outer_lr.svg").read_text()
    assert ">outer lr<" in further
    assert "mini-batch" not in further
    declare(tmp_path, best_of="lr")
    report(tmp_path)
    assert (folder / "tried.svg").exists()
    assert not (folder / "tried_outer_lr.svg").exists()


def test_a_method_without_the_key_stays_as_it_is(tmp_path: Path) -> None:
    for interval in (1, 8):
        fixture_run(tmp_path, 0.5, algorithm=part("prsgd", interval=interval))
        for outer in (0.5, 0.7, 0.9):
            algorithm = part("diloco", interval=interval, outer_lr=outer)
            fixture_run(tmp_path, 0.6 - abs(outer - 0.7), algorithm=algorithm)
    group = the_group(tmp_path, "outer_lr")
    assert labels(group)[:2] == ["PR-SGD, I = 1", "PR-SGD, I = 8"]
    report(tmp_path, asked=Asked(best=Best(["outer_lr"])))
    text = (tmp_path / "figures/toys-mlp-8/summary.md").read_text()
    table = text.partition("What was tried")[2]
    assert "| DiLoCo, I = 8 | 0.5: " in table
    assert "| PR-SGD" not in table
    assert "As many values were tried for each curve: 3." in table
    assert "These have no such key: PR-SGD, I = 1; PR-SGD, I = 8." in table


def test_the_figure_of_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ends against the key, a star on the best, a cross for what has none."""
    a_sweep(tmp_path)
    fixture_run(tmp_path, lr=0.8, algorithm=PRSGD, status="diverged")
    lines: dict[str, tuple[list[float], list[float]]] = {}
    marks: list[tuple[str, Any, Any]] = []
    plot, errorbar = Axes.plot, Axes.errorbar

    def bars(axes: Axes, x: Any, y: Any, error: Any, **style: Any) -> Any:
        lines.setdefault(style["label"], (list(x), list(y)))
        return errorbar(axes, x, y, error, **style)

    def marked(axes: Axes, *data: Any, **style: Any) -> Any:
        if style.get("marker") == "*" or data[2:] == ("x",):
            marks.append((style.get("marker", "x"), data[0], data[1]))
        return plot(axes, *data, **style)

    monkeypatch.setattr(Axes, "errorbar", bars)
    monkeypatch.setattr(Axes, "plot", marked)
    group = the_group(tmp_path, "lr")
    with drawing():
        assert draw_tried(group, specs(group)["curves"], Sheet(tmp_path)) == ["tried"]
    losses = [*np.exp([-1.5, -2.5, -2.0])]
    assert lines["PR-SGD, I = 8, γ = 0.2"] == ([0.1, 0.2, 0.4], pytest.approx(losses))
    assert [*lines] == ["mini-batch SGD, γ = 0.4", "PR-SGD, I = 8, γ = 0.2"]
    of_loss = marks[:3]
    assert of_loss[0] == ("*", 0.4, pytest.approx(np.exp(-3)))
    assert of_loss[1] == ("*", 0.2, pytest.approx(np.exp(-2.5)))
    assert of_loss[2][:2] == ("x", [0.8])
    assert of_loss[2][2][0] > 1  # above the panel
    svg = (tmp_path / "tried.svg").read_text()
    for words in ("learning rate γ", "★", "× diverged or unfinished"):
        assert words in svg
    for tick in ("0.1", "0.2", "0.4", "0.8"):  # the values themselves, the crossed one included
        assert svg.count(f">{tick}<") >= 2


def test_looks_say_what_is_compared_and_not_what_was_chosen(tmp_path: Path) -> None:
    """Best rates differ, and colour is still the first key that was compared."""
    for momentum, best in ((0.0, 0.1), (0.9, 0.2), (0.5, 0.2)):
        for lr in (0.1, 0.2):
            fixture_run(tmp_path, 0.5 + (lr == best) / 10, lr=lr, momentum=momentum)
    group = the_group(tmp_path, "lr")
    looks = styles(group.curves, specs(group)["curves"])
    assert len({look["color"] for look in looks}) == 3
    assert not any("linestyle" in look for look in looks)


def test_rows_of_panels_share_a_name_with_all_its_values(tmp_path: Path) -> None:
    for interval, best in ((8, 0.1), (32, 0.2)):
        for lr in (0.1, 0.2):
            rate = 0.5 + (lr == best) / 10
            fixture_run(tmp_path, rate, lr=lr, algorithm=part("prsgd", interval=interval))
            fixture_run(tmp_path, 1 - lr, lr=lr, algorithm=part("slowmo", interval=interval))
    declare(tmp_path, best_of="lr", curves={"panels": "interval"})
    report(tmp_path)
    for name in ("epochs", "tried"):
        svg = (tmp_path / f"figures/toys-mlp-8/{name}.svg").read_text()
        assert ">PR-SGD, γ = 0.1 / 0.2<" in svg
        assert ">SlowMo, γ = 0.1<" in svg
        assert ">I = 32<" in svg
    declare(tmp_path, best_of="interval", curves={"panels": "interval"})
    report(tmp_path)
    assert ">interval I<" in (tmp_path / "figures/toys-mlp-8/tried.svg").read_text()


def test_lines_by_interval_go_on_where_the_best_rate_changes(tmp_path: Path) -> None:
    for interval, best in ((4, 0.1), (8, 0.1), (32, 0.2)):
        for lr in (0.1, 0.2):
            rate = 0.5 + (lr == best) / 10
            fixture_run(tmp_path, rate, lr=lr, algorithm=part("prsgd", interval=interval))
    report(tmp_path, asked=Asked(best=Best(["lr"])))
    svg = (tmp_path / "figures/toys-mlp-8/intervals.svg").read_text()
    assert ">PR-SGD, γ = 0.1 / 0.1 / 0.2<" in svg


def test_of_many_curves_the_best_are_still_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_sweep(tmp_path)
    group = the_group(tmp_path, "lr")
    monkeypatch.setattr("prsgd.report.room.MOST", 1)
    smaller = shown_of(group)
    assert labels(smaller) == ["mini-batch SGD, γ = 0.4"]
    assert smaller.curves[0].search is group.curves[0].search
    assert smaller.note == (
        "each at its best γ by training loss, "
        "the 1 of 2 curves that ended with the lowest training loss"
    )


def test_a_declaration_waits_for_a_second_value(tmp_path: Path) -> None:
    """As in a sweep that has just begun: what there is is drawn as it is."""
    declare(tmp_path, best_of=["lr", "outer_lr"], best_by="test_accuracy")
    fixture_run(tmp_path, lr=0.1)
    assert labels(the_group(tmp_path)) == ["PR-SGD, I = 8"]
    fixture_run(tmp_path, 0.9, lr=0.2)
    group = the_group(tmp_path)
    assert labels(group) == ["PR-SGD, I = 8, γ = 0.2"]
    assert group.caption.endswith("each at its best γ by test accuracy")
    assert the_group(tmp_path, "lr").caption.endswith("by training loss")  # the flag comes first


def test_a_line_of_what_was_tried_goes_from_left_to_right(tmp_path: Path) -> None:
    """For each key, though the trials of two are in the order of the first."""
    for lr, interval in ((0.1, 32), (0.2, 1), (0.4, 8)):
        fixture_run(tmp_path, lr=lr, algorithm=part("prsgd", interval=interval))
    report(tmp_path, asked=Asked(best=Best(["lr", "interval"])))
    [data] = tmp_path.rglob("tried_interval_data.csv")
    assert pd.read_csv(data)["algorithm.interval"].tolist() == [1, 8, 32]


def test_the_command_says_what_was_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_sweep(tmp_path)
    assert main([str(tmp_path), "--best-of", "lr", "--best-by", "test_loss"]) == 0
    said = capsys.readouterr().out
    assert "| PR-SGD, I = 8 | 0.1: 0.2231, **0.2: 0.0821**, 0.4: 0.1353 | 0.2 | 1 |" in said
    assert "edge of what was tried, and may be better beyond it: mini-batch SGD at γ = 0.4." in said
    assert re.search(r"toys-mlp-8: epochs, .*, tried \(png, svg, data as csv\)", said)


WRONG = {
    ("--best-of=momentum",): (
        "--best-of=momentum: must be a key that one curve was tried at several values of; "
        "here those are lr"
    ),
    ("--best-of=lr,seed",): (
        "--best-of=seed: must be a key that one curve was tried at several values of; "
        "here those are lr"
    ),
    ("--best-of=lr", "--best-by=train_loss"): (
        "--best-by=train_loss: must be consensus_train_loss, test_loss or test_accuracy"
    ),
    ("--best-by=test_loss",): "--best-by=test_loss: needs --best-of",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_the_command_refuses(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    a_sweep(tmp_path)
    with pytest.raises(UserError) as refusal:
        main([str(tmp_path), *arguments])
    assert str(refusal.value) == WRONG[arguments]
    assert not (tmp_path / "figures").exists()


def test_runs_without_a_sweep_have_no_best(tmp_path: Path) -> None:
    fixture_run(tmp_path)
    with pytest.raises(UserError, match=r"several values of; here those are none$"):
        main([str(tmp_path), "--best-of=lr"])


DECLARED = {
    "best_of: lrr": (
        "best_of=lrr: must be a configuration key or a list of them, as in [lr, outer_lr]"
    ),
    "best_of: []": "best_of=[]: must be a configuration key or a list of them, as in",
    "best_of: {lr: 1}": "best_of={'lr': 1}: must be a configuration key or a list of them, as in",
    "best_of: seed": "best_of=seed: must be a configuration key or a list of them, as in",
    "best_of: 0.1": "best_of=0.1: must be a configuration key or a list of them, as in",
    "{best_of: lr, best_by: loss}": (
        "best_by=loss: must be consensus_train_loss, test_loss or test_accuracy"
    ),
    "{best_of: lr, best_by: [test_loss]}": "best_by=['test_loss']: must be consensus_train_loss,",
    "best_by: test_loss": "best_by=test_loss: needs best_of",
    "{best_of: lr, tried: {x: lr}}": "tried: must be a name of at most 80 letters, digits and _,",
}


@pytest.mark.parametrize("text", DECLARED)
def test_what_figures_yaml_may_not_say_of_best_values(tmp_path: Path, text: str) -> None:
    """One line with the file, the key, and what is allowed; nothing is drawn."""
    a_sweep(tmp_path)
    path = tmp_path / "figures.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        report(tmp_path)
    assert str(refusal.value).startswith(f"{path}: {DECLARED[text]}")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "figures").exists()


def test_a_key_that_some_folders_swept_stays_as_it_is_in_others(tmp_path: Path) -> None:
    a_sweep(tmp_path / "rates")
    fixture_run(tmp_path / "one", lr=0.1)
    report(tmp_path, tmp_path / "out", Asked(best=Best(["lr"])))
    assert (tmp_path / "out/rates/toys-mlp-8/tried.png").exists()
    assert not (tmp_path / "out/one/toys-mlp-8/tried.png").exists()
    assert "tried" not in (tmp_path / "out/one/toys-mlp-8/summary.md").read_text()


def test_a_damaged_run_is_no_trial(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    run = fixture_run(tmp_path, lr=0.8, algorithm=PRSGD)
    (run / "metrics.csv").write_text("garbage")
    run = fixture_run(tmp_path, lr=1.6, algorithm=PRSGD)
    (run / "status.json").write_text(json.dumps([1]))
    text = write_summary(the_group(tmp_path, "lr"), tmp_path)
    assert "1.6: unfinished" in text
    assert "0.8:" not in text
