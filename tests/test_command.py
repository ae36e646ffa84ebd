"""The command of a recorded configuration composes to it again."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import small_run

from prsgd.api.compose import composed
from prsgd.config.build import build_run
from prsgd.config.choices import choices
from prsgd.config.command import command, overrides
from prsgd.config.completed import completed
from prsgd.errors import UserError
from prsgd.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
LISTED = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True)
RUNS = [ROOT / name for name in LISTED.stdout.splitlines() if name.endswith("/config.yaml")]
GROUPS = ("algorithm", "compression", "schedule", "model", "data", "task")
NEEDED = {  # what a choice asks for beside itself
    "hierarchical": ["algorithm.levels={4: 8}"],
    "prsgd_heterogeneous": ["local_steps=[1,2,3,4]", "schedule=constant"],
    "gpt_nano": ["data=stdlib"],
    "gpt_small": ["data=stdlib"],
    "image_folder": ["data.root=own"],
    "npz": ["data.root=own.npz"],
    "table": ["data.root=own.csv", "data.target=price"],
    "text": ["data.root=own.txt"],
    "tokens": ["data.root=own", "data.vocabulary=50257"],
    "classification": ["data=npz", "data.root=own.npz"],
    "regression": ["data=npz", "data.root=own.npz"],
    "language_modeling": ["data=stdlib"],
}


def composes_to(words: list[str], config: Mapping[str, Any]) -> bool:
    return build_run(composed(words)).as_dict() == build_run(config).as_dict()


def shape(words: list[str]) -> tuple[str, ...]:
    """The choices of a command, and the keys that it gives."""
    groups = tuple(word for word in words if word.partition("=")[0] in GROUPS)
    return (*groups, *(word.partition("=")[0] for word in words))


@pytest.mark.skipif(not RUNS, reason="not a checkout")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_of_the_committed_runs() -> None:
    """One of those that give the same keys: they differ in numbers only."""
    configs = [RunFolder(path.parent).config() for path in RUNS]
    shapes = {shape(words): (words, config) for config in configs if (words := overrides(config))}
    assert len(shapes) > 20
    wrong = [words for words, config in shapes.values() if not composes_to(words, config)]
    assert wrong == []


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in GROUPS for name in choices(group)]
)
def test_every_choice_of_conf(group: str, name: str) -> None:
    config = build_run(composed([f"{group}={name}", *NEEDED.get(name, [])])).as_dict()
    assert composes_to(overrides(config), config)


@pytest.mark.parametrize(
    "given",
    [
        ["workers=4", "groups={2: 4}"],
        ["local_steps=[1,2,3,4]", "algorithm=prsgd_heterogeneous", "schedule=constant"],
        ["interval=16", "algorithm.interval=4"],  # which the algorithm alone reads
        ["data=stdlib", "model=gpt_small", "lr=1e-5", "schedule=step", "schedule.at=[0.9]"],
        ["data=stdlib", "optimiser=sgd", "clip=0.0", "model.depth=3"],
        ["out='a b/it\\'s'", "data.label='null'"],
        ["data.label='50 $ and `x`; \\\\'"],
        ["plugins=[conftest]", "tracker=[]"],
    ],
)
def test_what_is_not_a_choice_alone(given: list[str]) -> None:
    config = build_run(composed(given)).as_dict()
    words = overrides(config)
    assert composes_to(words, config)
    assert shlex.split(command(config)) == ["prsgd", "train", *words]


def test_what_conf_says_already_is_not_said() -> None:
    assert command(build_run(composed([])).as_dict()) == "prsgd train"
    config = build_run(composed(["data=stdlib", "lr=0.002"])).as_dict()
    assert command(config) == "prsgd train data=stdlib lr=0.002"


def test_a_text_in_quotes_is_one_that_people_read() -> None:
    config = build_run(composed(["data.label='my pictures'"])).as_dict()
    assert command(config) == "prsgd train \"data.label='my pictures'\""


def test_a_class_of_somebody_elses_has_no_command() -> None:
    config = small_run().as_dict()
    config["algorithm"] = {"_target_": "mymethods.Gentle", "interval": 8}
    with pytest.raises(UserError) as caught:
        command(config)
    assert str(caught.value) == (
        "algorithm=mymethods.Gentle: conf/ has no such choice, so no command alone makes it"
    )


def test_a_record_of_version_1_has_all_keys() -> None:
    old = {
        "workers": 2,
        "algorithm": {"_target_": "prsgd.algorithms.restarted.PRSGD", "interval": 4},
        "model": {"_target_": "prsgd.models.MLP"},
        "data": {"_target_": "prsgd.data.sets.Digits"},
        "schedule": {"_target_": "prsgd.schedule.Constant"},
    }
    found = completed(old)
    assert found["algorithm"]["name"] == "prsgd"
    assert (found["algorithm"]["interval"], found["algorithm"]["order"]) == (4, "restart")
    assert (found["model"]["width"], found["clip"], found["workers"]) == (64, 0.0, 2)
    assert found["compression"]["name"] == "none"
