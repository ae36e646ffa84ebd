"""`prsgd report`: what the page says of runs, and that a browser shows it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import yaml
from conftest import part
from matplotlib.colors import to_hex
from test_report import fixture_run

from prsgd.cli.report import main
from prsgd.errors import UserError
from prsgd.report.asked import tuned
from prsgd.report.attempts import attempts
from prsgd.report.curves import Group, groups
from prsgd.report.layout import names_and_looks
from prsgd.report.page import libraries
from prsgd.report.page.charts import MOST_POINTS, charts, notes, thinned
from prsgd.report.page.document import document
from prsgd.report.page.entries import apart, entries, flat
from prsgd.report.page.libraries import Libraries
from prsgd.report.page.looks import CONTRAST, DARK, SHAPES, contrast, on_dark
from prsgd.report.page.tables import shown_end
from prsgd.report.page.texts import embedded
from prsgd.report.room import MOST
from prsgd.report.runs import load
from prsgd.report.specs import Spec, specs
from prsgd.report.style import MARKERS

NONE = Libraries("", "", "")
HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\"'&"


def two_methods(root: Path) -> Path:
    """Two methods, one with three seeds, and two runs that figures leave out."""
    for seed, rate in enumerate((0.4, 0.5, 0.6)):
        fixture_run(root, rate, seed=seed, algorithm=part("prsgd", interval=8))
    fixture_run(root, 0.3, algorithm=part("minibatch"))
    fixture_run(root, 0.3, lr=9.0, status="diverged")
    (root / "empty").mkdir()
    (root / "empty" / "status.json").write_text("{}")
    return root


def hostile(root: Path) -> Path:
    """Runs whose records are to run scripts."""
    folder = root / "<img src=x onerror='window.hit = 3'>"
    for lr in (0.1, 0.2):
        fixture_run(folder, data=HOSTILE, lr=lr, processor=HOSTILE)
    (folder / "figures.yaml").write_text(yaml.safe_dump({"question": HOSTILE}))
    return root


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return two_methods(tmp_path / "results")


def only_group(results: Path) -> Group:
    runs, left_out = load(results)
    [group] = tuned(groups(runs), attempts(path for path, _ in left_out))
    return group


def written(results: Path) -> str:
    return document(results, *load(results), NONE)


class Reader(HTMLParser):
    """The elements of a page: their tags, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        texts: list[str] = []
        self.found.append((tag, dict(attrs), texts))
        if tag not in ("input", "meta"):
            self.open.append((tag, texts))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, texts in self.open[-1:]:
            texts.extend(filter(None, [data.strip()]))

    def texts(self, tag: str) -> list[str]:
        return [" ".join(texts) for own, _, texts in self.found if own == tag]


def data_of(text: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


# What is told ------------------------------------------------------------------------------------


def test_curves_are_those_of_the_figures_in_values_and_looks(results: Path) -> None:
    group = only_group(results)
    found = charts(group, specs(group))
    names, looks = names_and_looks(group, specs(group)["rounds"])
    [series] = found["looks"]
    assert [own["name"] for own in series] == [names[curve] for curve in group.curves]
    assert [own["light"] for own in series] == [to_hex(look["color"]) for look in looks.values()]
    assert [figure["name"] for figure in found["figures"]] == ["epochs", "rounds", "bytes", "time"]
    first, seeds = found["curves"]
    assert (first["seeds"], first["spread"], seeds["seeds"]) == (1, {}, 3)
    mean, deviation = group.curves[1].mean[1:], group.curves[1].deviation[1:]
    assert seeds["mean"]["round"] == mean["round"].tolist()
    assert seeds["mean"]["test_accuracy"] == pytest.approx(100 * mean["test_accuracy"], rel=1e-5)
    loss = "consensus_train_loss"
    assert seeds["spread"][loss] == pytest.approx(deviation[loss], rel=1e-5)
    assert seeds["mean"]["payload_bytes"] == pytest.approx(mean["payload_bytes"] / 1e6)
    assert found["columns"]["test_accuracy"]["title"] == "test accuracy of x̄ (%)"


def test_a_declared_figure_and_its_rows_are_in_the_page(results: Path) -> None:
    declared = {"curves": {"panels": "lr"}, "drifting": {"x": "step", "y": "drift"}}
    fixture_run(results, 0.2, lr=0.2, algorithm=part("prsgd", interval=8))
    (results / "figures.yaml").write_text(yaml.safe_dump(declared))
    group = only_group(results)
    found = charts(group, specs(group))
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert [row["title"] for row in figures["rounds"]["rows"]] == ["γ = 0.05", "γ = 0.2"]
    assert figures["drifting"]["y"] == ["drift"]
    assert figures["drifting"]["rows"] != figures["rounds"]["rows"]
    assert "step (drifting)" in Reader(written(results)).texts("option")


def test_each_curve_is_at_its_best_and_all_its_runs_can_be_made_again(results: Path) -> None:
    worse = fixture_run(results, 0.1, lr=0.2, algorithm=part("prsgd", interval=8))
    (results / "figures.yaml").write_text("best_of: lr")
    text = written(results)
    [group] = data_of(text)["groups"]
    names = [own["name"] for own in group["looks"][0]]
    assert names == ["mini-batch SGD, γ = 0.05", "PR-SGD, I = 8, γ = 0.05"]
    assert "each at its best γ by training loss" in text
    assert worse.name in Reader(text).texts("h3")
    assert "Make these runs again (5)" in text


def test_the_question_is_what_figures_yaml_says_or_else_the_caption(results: Path) -> None:
    caption = only_group(results).caption
    assert Reader(written(results)).texts("h2")[0] == caption
    (results / "figures.yaml").write_text("question: Do they <learn>?")
    text = written(results)
    assert Reader(text).texts("h2")[0] == "Do they <learn>?"
    assert f"results: {caption}." in Reader(text).texts("p")
    (results / "figures.yaml").write_text("question: 7")
    with pytest.raises(UserError) as caught:
        written(results)
    assert str(caught.value) == f"{results}/figures.yaml: question=7: must be a sentence"


def test_the_runs_left_out_are_in_the_table_with_their_status_and_told_with_the_reason(
    results: Path,
) -> None:
    page = Reader(written(results))
    assert "4 finished runs in 1 group, and 2 left out" in " ".join(page.texts("p"))
    assert "diverged: the loss is nan" in page.texts("td")
    assert "empty" in page.texts("code")
    assert ": empty is not a run folder: it has no config.yaml" in page.texts("li")
    assert str(results) not in written(results)
    heads = page.texts("th")
    assert heads[:3] == ["run", "folder", "curve"]
    assert heads[3:9] == [
        *("training loss", "test accuracy (%)", "rounds", "sent (MB)", "time (s)", "status"),
    ]
    assert heads[9:12] == ["lr", "seed", "algorithm"]


def test_two_runs_differ_in_what_is_embedded_of_them(results: Path) -> None:
    runs, left_out = load(results)
    found = entries(groups(runs), [path for path, _ in left_out])
    assert len(found) == 5
    data = data_of(written(results))
    for entry, told in zip(found, data["runs"], strict=True):
        whole = {**data["usual"], **told["own"]}
        assert {k: v for k, v in whole.items() if v is not None} == entry.keys
    assert [run["own"].get("seed") for run in data["runs"]].count(None) == 3
    assert len({json.dumps(run["ends"]) for run in data["runs"]}) > 2


@pytest.mark.parametrize(
    ("head", "value", "shown"),
    [
        ("rounds", 31250.0, "31,250"),
        ("test accuracy (%)", 33.0, "33.00"),
        ("test accuracy (%)", 44.6, "44.60"),
        ("training loss", 2.0, "2.0000"),
        ("time (s)", 12.3456, "12.35"),
    ],
)
def test_only_rounds_are_shown_without_digits_after_the_point(head, value, shown) -> None:
    assert shown_end(head, value) == shown


def test_a_key_that_only_some_have() -> None:
    configs = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "3", "b": "2"}]
    usual, own = apart(configs)
    assert usual == {"a": "1", "b": "2"}
    assert own == [{"b": None}, {}, {"a": "3"}]
    nested = {"lr": 0.1, "data": {"size": 8, "root": "~/x"}, "groups": None, "speeds": [1, 2]}
    assert flat(nested) == {
        **{"lr": "0.1", "data.size": "8", "data.root": "~/x"},
        **{"groups": "null", "speeds": "[1, 2]"},
    }


def test_records_that_cannot_be_read_are_only_named(results: Path) -> None:
    for name, config in (("list", "version: 2\nmodel: []"), ("none", "version: 2"), ("x", "[")):
        (results / name).mkdir()
        (results / name / "config.yaml").write_text(config)
    page = Reader(written(results))
    assert {"list", "none", "x"} <= {*page.texts("code")}
    assert len(page.texts("article")) == 5


def test_what_run_folders_say_is_escaped(tmp_path: Path) -> None:
    page = Reader(written(hostile(tmp_path / "results")))
    tags = [tag for tag, _, _ in page.found]
    assert (tags.count("script"), tags.count("img")) == (2, 0)
    assert HOSTILE in page.texts("h2")
    assert HOSTILE in page.texts("td")
    assert "<img src=x" in "".join(str(own.get("label")) for _, own, _ in page.found)


def test_nothing_in_embedded_data_ends_its_script() -> None:
    data = {"a": HOSTILE, "b": "<!-- \u2028"}
    assert "<" not in embedded(data)
    assert "\u2028" not in embedded(data)
    assert json.loads(embedded(data)) == data


def test_long_curves_are_thinned_and_the_page_says_so(results: Path) -> None:
    assert thinned(7).tolist() == [0, 1, 2, 3, 4, 5, 6]
    places = thinned(100_000).tolist()
    assert (places[0], places[-1], len(places)) == (0, 99_999, MOST_POINTS)
    gaps = {right - left for left, right in pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
    group = only_group(results)
    assert notes(group, specs(group)) == []
    for curve in group.curves:
        curve.mean = curve.mean.iloc[[0, *[3] * 1000]]
        curve.deviation = curve.deviation.iloc[[0, *[3] * 1000]]
    assert notes(group, specs(group)) == ["Of up to 1,001 points of a curve 400 are drawn."]
    [curve, *_] = charts(group, specs(group))["curves"]
    assert len(curve["mean"]["epoch"]) == MOST_POINTS


def test_times_of_several_kinds_of_machine_are_no_figure(results: Path) -> None:
    fixture_run(results, 0.2, processor="Xeon", algorithm=part("prsgd", interval=32))
    group = only_group(results)
    [note] = notes(group, specs(group))
    assert note == "There is no figure of time, as the runs are of several kinds of machine."


def test_many_curves_are_cut_as_in_the_figures(tmp_path: Path) -> None:
    for place in range(MOST + 2):
        fixture_run(tmp_path, 0.1 + place / 100, lr=0.1 + place / 100)
    text = written(tmp_path)
    [group] = data_of(text)["groups"]
    assert len(group["curves"]) == MOST
    assert "not drawn: the 2 curves that ended with the highest training loss" in text


def test_every_curve_can_be_told_from_a_dark_ground() -> None:
    shades = [mpl.colormaps["viridis"](share / 10) for share in range(11)]
    shades += [mpl.colormaps["tab20"](place) for place in range(20)]
    for colour in ["#000000", "#0000ff", *map(to_hex, shades)]:
        assert contrast(on_dark(colour), DARK) >= CONTRAST
    assert on_dark("#000000") == "#f2f2f2"
    light = to_hex(mpl.colormaps["viridis"](0.9))
    assert on_dark(light) == light
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    style = (Path(libraries.__file__).parent / "page.css").read_text()
    assert f"--ground: {DARK};" in style


def test_every_marker_has_a_shape() -> None:
    assert {*MARKERS} <= {*SHAPES}


def test_a_missing_package_is_one_line(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        main([str(results)])
    both = "vl-convert-python and itables"
    line = f"prsgd report: needs the packages {both}: pip install 'prsgd[report]'"
    assert str(caught.value) == line
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "itables" else name)
    with pytest.raises(UserError, match="needs the package itables: pip install"):
        main([str(results)])
    assert not (results / "index.html").exists()


def test_where_there_is_nothing_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: name)
    monkeypatch.setattr(libraries, "bundle", lambda: NONE)
    with pytest.raises(UserError) as caught:
        main([str(tmp_path / "none")])
    assert "there is no finished run in it; start one with prsgd train" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* say with --out where the page may"):
        main([str(results), "--out", str(tmp_path / "file" / "page.html")])
    assert main([str(results), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_figure_of_points_is_none_of_the_page(results: Path) -> None:
    group = only_group(results)
    spec = Spec("lr", ("test_accuracy",))
    assert charts(group, {"curves": Spec(), "points": spec})["figures"] == []
