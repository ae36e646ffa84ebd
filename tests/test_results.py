"""The committed results: whole, as their configurations name them, and told as they are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import fill_tables
import hydra
import numpy as np
import pytest
import yaml
from conftest import part
from omegaconf import OmegaConf
from test_report import declare, fixture_run

from prsgd.config.build import build_run
from prsgd.config.choices import conf_dir, files
from prsgd.config.naming import run_name
from prsgd.report import Asked, report
from prsgd.report.asked import tuned
from prsgd.report.curves import groups
from prsgd.report.runs import load, load_run
from prsgd.report.tables import write_summary
from prsgd.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
LISTED = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True)
COMMITTED = [ROOT / name for name in LISTED.stdout.splitlines()]
RUNS = [path.parent for path in COMMITTED if path.name == "config.yaml"]
pytestmark = pytest.mark.skipif(not COMMITTED, reason="not a checkout")
DOCUMENTS = [ROOT / "README.md", *(path for path in COMMITTED if path.suffix == ".md")]


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_a_committed_run_is_whole_and_its_configuration_is_its_own(folder: Path) -> None:
    names = {path.name for path in COMMITTED if path.parent == folder}
    assert names >= {"config.yaml", "metrics.csv", "rounds.csv", "environment.json", "status.json"}
    run = load_run(folder)  # refuses what is not done
    environment = json.loads((folder / "environment.json").read_text())
    config = build_run(RunFolder(folder).config())
    assert run_name(config, environment["precision"], run.fingerprint) == folder.name


def test_make_reproduce_trains_every_experiment() -> None:
    """But for the bundled jobs, and for the network, which has a script."""
    [names] = re.findall(r"^EXPERIMENTS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    there = {path.stem for path in files("experiment")}
    assert {
        *names.split(),
        "quickstart",
        "quickstart_lm",
        "tune",
        "tune_optuna",
        "network",
    } == there


def test_results_are_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED) < 30e6


@pytest.mark.parametrize("document", fill_tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_records(document: Path) -> None:
    text = document.read_text()
    assert "<!-- ends results/full -->" in text
    assert fill_tables.filled(text) == text


SUMMARIES = [path for path in COMMITTED if path.name == "summary.md"]


@pytest.mark.parametrize("committed", SUMMARIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_figures_were_drawn_from_these_records(committed: Path, tmp_path: Path) -> None:
    """Seen by the summary, which is written with them."""
    runs, left_out = load(committed.parents[2])
    [group] = [g for g in tuned(groups(runs), []) if g.slug == committed.parent.name]
    assert not left_out
    assert write_summary(group, tmp_path) == committed.read_text()
    drawn = {path.name for path in COMMITTED if path.parent == committed.parent}
    assert {"epochs.png", "rounds_data.csv", "ends.png"} <= drawn


def test_figures_of_many_folders_are_drawn_in_one_call(tmp_path: Path) -> None:
    """They are those that are committed, with the same tables."""
    for name in ("one_shot", "order"):
        shutil.copytree(ROOT / "results" / name, tmp_path / "results" / name)
    assert report(tmp_path / "results", tmp_path / "out", Asked(formats=("png",))) == 0
    files_drawn = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    drawn = {path.relative_to(tmp_path / "out") for path in files_drawn}
    committed = {
        Path(*(part for part in path.parts if part != "figures")): path
        for path in (path.relative_to(ROOT / "results") for path in COMMITTED)
        if "figures" in path.parts and path.parts[0] in ("one_shot", "order")
    }
    assert drawn == {*committed}
    for name in (name for name in drawn if name.stem == "summary"):
        text = (ROOT / "results" / committed[name]).read_text()
        assert (tmp_path / "out" / name).read_text() == text


def test_all_results_have_figures_in_the_folders_that_one_call_draws() -> None:
    runs, left_out = load(ROOT / "results")
    assert not left_out
    folders = {group.folder / "figures" / group.slug for group in groups(runs)}
    assert folders == {path.parent for path in SUMMARIES}


def test_the_results_have_the_figures_that_their_experiments_declare() -> None:
    """A sweep that is trained elsewhere is not among them before its runs are committed."""
    declared, likely = dict[str, object](), dict[str, object]()
    with_runs = {str(folder.parent.relative_to(ROOT)) for folder in RUNS}
    for path in files("experiment"):
        if re.search(r"^figures:", path.read_text(), re.MULTILINE):
            with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
                config = hydra.compose("config", [f"+experiment={path.stem}"])
            figures = OmegaConf.to_container(config.figures, resolve=True)
            out = config._get_node("out")._value()  # with its references
            pattern = "[^/]+".join(map(re.escape, re.split(r"\$\{[^}]+\}", out)))
            likely |= {name: figures for name in with_runs if re.fullmatch(pattern, name)}
            declared |= {name: figures for name in with_runs if name == config.out}
    there = {path.parent: path for path in COMMITTED if path.name == "figures.yaml"}
    found = {folder: yaml.safe_load(path.read_text()) for folder, path in there.items()}
    assert {str(folder.relative_to(ROOT)): block for folder, block in found.items()} == (
        likely | declared
    )
    assert len(found) >= 17


@pytest.mark.parametrize(
    "text",
    ["<!-- ends a -->\nx\n<!-- ends b -->\n<!-- end -->\n", "<!-- ends a -->\n", "<!-- end -->"],
)
def test_a_table_without_an_end_takes_nothing_with_it(text: str) -> None:
    with pytest.raises(ValueError, match="a table has a beginning and no <!-- end -->"):
        fill_tables.filled(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_shows_is_committed(document: Path) -> None:
    there = {path for name in COMMITTED for path in (name, *name.parents)}
    links = re.findall(r"\]\((?!https?:|#)(results/[^)#\s]+|[^)#\s]+)[)#]", document.read_text())
    paths = [(document.parent / link).resolve() for link in links]
    results = [path for path in paths if path.is_relative_to(ROOT / "results")]
    assert [path for path in results if path not in there] == []
    assert [path for path in paths if not path.exists()] == []


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def signed(value: float, error: float, digits: int) -> str:
    return f"{value:+.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def test_a_table_of_ends_by_hand(tmp_path: Path) -> None:
    """A rate of r ends with a loss of exp(-5 r) and an accuracy of 1 - loss / 2."""
    for seed, rate in ((0, 0.1), (1, 0.2)):
        fixture_run(tmp_path, rate, "CIFAR-10 (JPEG)", seed=seed, algorithm=part("minibatch"))
    pr_sgd = {
        (8, 0): 0.3,  # two seeds in common with the baseline
        (8, 1): 0.3,
        (16, 0): 0.3,  # one
        (32, 7): 0.3,  # none
    }
    for (interval, seed), rate in pr_sgd.items():
        algorithm = part("prsgd", interval=interval)
        fixture_run(tmp_path, rate, "CIFAR-10 (JPEG)", seed=seed, algorithm=algorithm)
    _, _, baseline, two, one, none = cells(fill_tables.ends(str(tmp_path)))
    first, second, theirs = (float(np.exp(-5 * rate)) for rate in (0.1, 0.2, 0.3))
    mean, spread = (first + second) / 2, (first - second) / 2**0.5
    assert baseline[:3] == ["mini-batch SGD", "2", f"{mean:.3f} ± {spread:.3f}"]
    assert baseline[3:6] == ["", f"{100 - 50 * mean:.2f} ± {50 * spread:.2f}", ""]
    of_pairs = (first - second) / 2  # the deviation of two, over √2
    assert two[:3] == ["PR-SGD, I = 8", "2", f"{theirs:.3f} ± 0.000"]
    assert two[3] == signed(theirs - mean, of_pairs, 3)
    assert two[5] == signed(50 * (mean - theirs), 50 * of_pairs, 2)
    assert one[3] == f"−{first - theirs:.3f}"
    shares = (1 - theirs / 2, 1 - mean / 2)
    sampled = 100 * sum(p * (1 - p) / 10_000 for p in shares) ** 0.5
    assert one[5] == signed(50 * (first - theirs), sampled, 2)
    assert (none[3], none[5]) == ("", "")
    assert none[6:] == ["50", "0"]


def test_numbers_in_sentences_by_hand(tmp_path: Path) -> None:
    """As in the tables; a difference has no sign, as the sentence says on which side it is."""
    rates = {(1, 0.4, 0): 0.2, (1, 0.8, 0): 0.1, (8, 0.4, 0): 0.1, (8, 0.8, 0): 0.15}
    for (interval, lr, seed), rate in rates.items():
        own = part("prsgd", interval=interval)
        fixture_run(tmp_path, rate, "CIFAR-10 (JPEG)", seed=seed, lr=lr, algorithm=own)
    declare(tmp_path, best_of="lr")
    best, theirs = (float(np.exp(-5 * rate)) for rate in (0.2, 0.15))
    sampled = 100 * sum(p * (1 - p) / 10_000 for p in (1 - best / 2, 1 - theirs / 2)) ** 0.5
    for kind, column, more, number in (
        ("is", "round", "interval=8", "50"),
        ("is", "test_accuracy", "interval=8 lr=0.8", f"{100 - 50 * theirs:.1f}"),
        ("is", "consensus_train_loss", "interval=1", f"{best:.3f}"),
        ("is", "consensus_train_loss", "interval=1 epoch=2", f"{np.exp(-2 * 0.2):.3f}"),
        ("behind", "test_accuracy", "interval=8", f"{50 * (theirs - best):.1f} ± {sampled:.1f}"),
    ):
        begin = f"<!-- {kind} {tmp_path} {column} {more} -->"
        assert fill_tables.filled(f"a {begin}x<!-- --> b") == f"a {begin}{number}<!-- --> b"
    (tmp_path / "figures.yaml").unlink()
    fill_tables.the_group.cache_clear()
    begin = f"<!-- behind {tmp_path} test_accuracy interval=8 lr=0.8 from interval=1 lr=0.4 -->"
    number = f"{50 * (theirs - best):.1f} ± {sampled:.1f}"
    assert fill_tables.filled(f"{begin}x<!-- -->") == f"{begin}{number}<!-- -->"
    with pytest.raises(ValueError, match="not just one curve"):
        fill_tables.filled(f"<!-- is {tmp_path} round lr=3 --><!-- -->")


def test_factors_in_sentences_by_hand(tmp_path: Path) -> None:
    """One worker comes to exp(-0.5) after 5 epochs of 20 steps; so the others' rates count."""
    for workers, rate in ((1, 0.1), (4, 0.25)):
        fixture_run(tmp_path, rate, workers=workers, algorithm=part("prsgd", interval=8))
    steps = tmp_path / "network.csv"
    steps.write_text("network,interval,measured_seconds\nslow,1,30\nslow,4,12\n")
    text = f"<!-- faster {tmp_path} workers=4 -->x<!-- -->, <!-- sooner {steps} slow 4 --><!-- -->"
    assert re.findall(r"-->([\d.]*)<!-- -->", fill_tables.filled(text)) == ["2.5", "2.5"]


def test_runs_of_several_folders_are_called_by_them(tmp_path: Path) -> None:
    """And where nothing is mini-batch SGD there is no difference from it."""
    for name in ("iid", "by_label"):
        fixture_run(tmp_path / name, data="CIFAR-10 (JPEG)", algorithm=part("prsgd", interval=8))
    rows = cells(fill_tables.ends(str(tmp_path / "iid"), str(tmp_path / "by_label")))[2:]
    assert [row[0] for row in rows] == ["iid, PR-SGD, I = 8", "by_label, PR-SGD, I = 8"]
    assert [row[3] for row in rows] == ["", ""]


def test_a_folder_with_an_unfinished_run_makes_no_table(tmp_path: Path) -> None:
    fixture_run(tmp_path, status="interrupted")
    with pytest.raises(ValueError, match="not finished"):
        fill_tables.ends(str(tmp_path))


def test_what_is_mini_batch_sgd(tmp_path: Path) -> None:
    """I = 1 in the restarting order, if momentum is averaged as well; its own name comes first."""

    def baseline_of_the_last(folder: Path) -> str | None:
        [group] = groups(load(folder)[0])
        found = fill_tables.minibatch(group.curves[-1], group)
        return found and found.label

    for order in ("restart", "literal"):
        for interval in (1, 8):
            fixture_run(tmp_path, algorithm=part("prsgd", interval=interval, order=order))
    assert baseline_of_the_last(tmp_path) == "PR-SGD, I = 1, order = restart"
    fixture_run(tmp_path, algorithm=part("minibatch"))
    assert baseline_of_the_last(tmp_path) == "mini-batch SGD"
    reset = part("prsgd", interval=1, momentum_at_sync="reset")
    folder = fixture_run(tmp_path / "reset", momentum=0.9, algorithm=reset).parent
    assert baseline_of_the_last(folder) is None


def test_a_baseline_differs_in_the_method_only(tmp_path: Path) -> None:
    """Each γ has its own."""
    for lr, rate in ((0.1, 0.1), (0.2, 0.3)):
        for interval in (1, 8):
            algorithm = part("prsgd", interval=interval)
            of_the_first = rate if interval == 1 else 0.2
            fixture_run(tmp_path, of_the_first, "CIFAR-10 (JPEG)", lr=lr, algorithm=algorithm)
    rows = {row[0]: row[3] for row in cells(fill_tables.ends(str(tmp_path)))[2:]}
    low, middle, high = (float(np.exp(-5 * rate)) for rate in (0.3, 0.2, 0.1))
    assert rows["PR-SGD, I = 1, γ = 0.1"] == rows["PR-SGD, I = 1, γ = 0.2"] == ""
    assert rows["PR-SGD, I = 8, γ = 0.1"] == f"−{high - middle:.3f}"
    assert rows["PR-SGD, I = 8, γ = 0.2"] == f"+{middle - low:.3f}"


def test_a_table_of_steps_by_hand(tmp_path: Path) -> None:
    """A loss of exp(-rate epoch), an epoch of 20 steps: exp(-1) is reached in 1 / rate epochs.

    N = 8 is there before the first row, and nobody knows when.
    """
    for workers, rate in ((1, 0.2), (2, 0.25), (4, 0.5), (8, 2.0)):
        fixture_run(tmp_path, rate, workers=workers, algorithm=part("prsgd", interval=8))
    lines = {"PR-SGD, γ = 0.05, I = 8": {"workers": [1, 2, 4, 8], "lr": 0.05}}
    declare(tmp_path, speedup={"x": "workers", "y": "steps_to_target", "lines": lines})
    head, _, row = fill_tables.steps(str(tmp_path)).splitlines()
    assert head == "| steps to 0.368 | N = 1 | N = 2 | N = 4 | N = 8 | slope on log N |"
    slope = (np.log2(40) - np.log2(100)) / 2
    assert row == f"| PR-SGD, γ = 0.05, I = 8 | 100 | 80 | 40 |  | −{-slope:.2f} |"


def test_the_table_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Words.\n\n| a |\n| --- |\n| 1 |\n")
    assert fill_tables.copied(str(tmp_path / "a.md")) == "| a |\n| --- |\n| 1 |\n"
