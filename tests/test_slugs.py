"""What is called differently is told apart: folders of figures, captions, labels, points."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import part
from matplotlib.axes import Axes
from test_report import declare, fixture_run

from prsgd.report import report
from prsgd.report.curves import Group, groups
from prsgd.report.points import draw_points, lines_of
from prsgd.report.runs import load
from prsgd.report.sheet import Sheet
from prsgd.report.slugs import slugs
from prsgd.report.specs import specs

ALIKE = [
    *(
        "a.b",
        "a-b",
        "a b",
        "A b",
        "日本",
        "中国",
        "",
        "-",
        "con",
        "NUL",
        "lpt1",
        "x" * 400,
        "x" * 401,
    ),
    *("é", "e", "toys", "toys-2", "toys-12345678", "toys 12345678"),
]

MARKED = ("toys-12345678", "日本", "con", "")


def test_no_two_titles_share_a_folder() -> None:
    found = slugs(ALIKE, ALIKE)
    assert len({slug.casefold() for slug in found}) == len(ALIKE)
    assert all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,88}[a-z0-9])?", slug) for slug in found)
    assert not {"con", "nul", "lpt1"} & {*found}
    assert found[ALIKE.index("toys-2")] == "toys-2"
    backwards = slugs(ALIKE[::-1], ALIKE[::-1])
    assert backwards[::-1] == found
    [one] = slugs(["a.b"], ["a.b"])
    assert one == "a-b"


@pytest.mark.parametrize(("first", "second"), [*combinations(MARKED, 2)])
def test_a_marked_name_is_the_same_in_any_company(first: str, second: str) -> None:
    assert slugs([first, second], [first, second])[0] == slugs([first], [first])[0]


def test_a_mark_cannot_be_had_as_a_title() -> None:
    [marked] = slugs(["日本 toys"], ["one"])
    assert slugs(["日本 toys", marked], ["one", "two"])[0] == marked
    assert slugs(["日本 toys", marked], ["one", "two"])[1] != marked


def found_in(folder: Path) -> dict[str, Group]:
    return {group.slug: group for group in groups(load(folder)[0])}


@pytest.mark.parametrize("names", [("a.b", "a-b"), ("日本", "中国"), ("Toys", "toys"), ("", "con")])
def test_data_of_similar_names_have_their_own_folders(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    for name in names:
        fixture_run(tmp_path, data=name)
    first = found_in(tmp_path)
    assert {group.data for group in first.values()} == {*names}
    report(tmp_path)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {*first}
    assert len({name.casefold() for name in drawn}) == 2
    for slug, group in first.items():
        assert f"on {group.data}, N" in (tmp_path / "figures" / slug / "epochs.svg").read_text()


def test_captions_say_in_which_keys_data_of_one_name_differ(tmp_path: Path) -> None:
    for size in (16, 24, 32):
        for partition in ("iid", "by_label"):
            keys = part("synthetic", train=160, test=40, size=size, partition=partition)
            folder = fixture_run(tmp_path, data=f"of {size}", data_keys=keys)
            environment = folder / "environment.json"
            renamed = environment.read_text().replace(f'"data": "of {size}"', '"data": "toys"')
            environment.write_text(renamed)
    found = found_in(tmp_path)
    assert len(found) == 3
    for group in found.values():
        size = group.curves[0].config["data.size"]
        assert group.caption.startswith(f"MLP-8 on toys, size = {size}, N = 2")
        assert len(group.curves) == 2


def test_models_of_ones_own_with_one_name(tmp_path: Path) -> None:
    for place in range(12):
        folder = fixture_run(tmp_path, seed=place)
        record = yaml.safe_load((folder / "config.yaml").read_text())
        record["model"] = {"_target_": f"zoo.m{place}.Net"}
        (folder / "config.yaml").write_text(yaml.safe_dump(record))
    found = found_in(tmp_path)
    assert len({slug.casefold() for slug in found}) == 12
    assert {group.caption.split(", ")[1] for group in found.values()} == {
        f"model = zoo.m{place}.Net" for place in range(12)
    }


def of_plugin(folder: Path, **keys: Any) -> None:
    record = yaml.safe_load((folder / "config.yaml").read_text())
    record["algorithm"] = {"_target_": "mine.A", **keys}
    (folder / "config.yaml").write_text(yaml.safe_dump(record))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["a.x", "a.y"], ["x", "y"]),
        (["a.x", "b.x"], ["a.x", "b.x"]),
        ([0.12345678, 0.12345679], ["0.12345678", "0.12345679"]),
        ([1, "1", 2], ["1", '"1"', "2"]),
    ],
    ids=str,
)
def test_labels_are_told_apart(tmp_path: Path, values: list[Any], labels: list[str]) -> None:
    for seed, value in enumerate(values):
        of_plugin(fixture_run(tmp_path, seed=seed), rule=value)
    [group] = found_in(tmp_path).values()
    assert {c.label for c in group.curves} == {f"mine.A, rule = {label}" for label in labels}


def test_keys_of_one_name_are_written_in_full(tmp_path: Path) -> None:
    for width in (1, 2):
        for size in (1, 2):
            folder = fixture_run(tmp_path, seed=2 * width + size)
            record = yaml.safe_load((folder / "config.yaml").read_text())
            record["algorithm"] = {"_target_": "mine.A", "k": width}
            record["schedule"] = {"_target_": "mine.S", "k": size}
            (folder / "config.yaml").write_text(yaml.safe_dump(record))
    [group] = found_in(tmp_path).values()
    assert {curve.label for curve in group.curves} == {
        f"mine.A, algorithm.k = {a}, schedule.k = {b}" for a in (1, 2) for b in (1, 2)
    }


def test_words_on_an_axis_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, rule in enumerate(("a.x", "b.x", 3)):
        of_plugin(fixture_run(tmp_path, seed=seed), rule=rule)
    declare(tmp_path, rules={"x": "algorithm.rule"})
    [group] = found_in(tmp_path).values()
    drawn: list[Any] = []
    errorbar = Axes.errorbar

    def spy(axes: Axes, x: Any, *more: Any, **style: Any) -> Any:
        drawn.append(x)
        return errorbar(axes, x, *more, **style)

    monkeypatch.setattr(Axes, "errorbar", spy)
    spec = specs(group)["rules"]
    draw_points(group, spec, lines_of(group, spec), Sheet(tmp_path / "rules"))
    assert [set(x) for x in drawn] == [{"a.x", "b.x", "3"}] * 2
