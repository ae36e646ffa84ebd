"""The yaml files, the schema, and the name of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import part, small_run
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from prsgd.config.build import build_run
from prsgd.config.choices import conf_dir, files
from prsgd.config.compose import NOT_KEYS
from prsgd.config.compose import compose as compose_runs
from prsgd.config.naming import run_name, run_name_of_version_1
from prsgd.config.registry import PATHS, called, class_named
from prsgd.config.schema import GROUPS, Run, Settings
from prsgd.config.start import located, without_lost_start
from prsgd.config.table import expand, rows
from prsgd.cost.advice import corollary_interval
from prsgd.cost.counter import CommCounter
from prsgd.errors import UserError
from prsgd.launch.planning import plan_runs
from prsgd.run_folder import RunFolder


def composed(*overrides: str) -> dict[str, Any]:
    """The plain configuration; of an experiment with a table of runs, that of its first run."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        [first, *_] = expand(compose("config", list(overrides)))
    plain: Any = OmegaConf.to_container(first, resolve=True)
    return {key: plain[key] for key in plain if key not in NOT_KEYS}


CHOICES = [(group, path.stem) for group in GROUPS for path in files(group)]


NEEDED = {
    "image_folder": ["data.root=somewhere"],
    "prsgd_heterogeneous": ["local_steps=[4,3,2,1]"],
    "hierarchical": ["algorithm.levels={2:4,4:16}"],
    "text": ["data.root=somewhere"],
    "tokens": ["data.root=somewhere", "data.vocabulary=300"],
    "language_modeling": ["data=stdlib"],
    "npz": ["data.root=somewhere"],
    "table": ["data.root=somewhere", "data.target=y"],
    "classification": ["data=npz", "data.root=somewhere"],
    "regression": ["data=npz", "data.root=somewhere"],
    "gpt_nano": ["data=stdlib"],
    "gpt_small": ["data=stdlib"],
}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_builds(group: str, choice: str) -> None:
    run = build_run(composed(f"{group}={choice}", *NEEDED.get(choice, [])))
    assert isinstance(run, Run)
    if group == "model":
        inputs, _ = run.task.example(run.data, 2, torch.device("cpu"))
        assert run.build_model()(inputs).shape == run.task.output(run.data, 2)
    if group == "schedule":
        assert run.schedule.lr(1, 10, 1.0) > 0
    assert build_run(run.as_dict()) == run


@pytest.mark.parametrize("path", files("experiment"), ids=lambda path: path.stem)
def test_every_experiment_composes(path: Path) -> None:
    if "hydra/sweeper: optuna" in path.read_text():
        pytest.importorskip("optuna", reason="needs the extra optuna; see test_hydra")
    assert isinstance(build_run(composed(f"+experiment={path.stem}")), Run)


@pytest.mark.parametrize("epochs", [2.0**63, 1e308])
def test_more_epochs_than_can_be_counted(epochs: float) -> None:
    with pytest.raises(UserError) as refusal:
        small_run(epochs=epochs).steps(160)
    assert str(refusal.value) == (
        f"epochs={epochs:g}: must be fewer; nobody can draw so many batches"
    )


TABLE = yaml.safe_load((conf_dir() / "experiment/speedup.yaml").read_text())["runs"]


@pytest.mark.parametrize("line", TABLE)
def test_every_line_of_the_speed_up_is_what_its_name_says(line: str) -> None:
    found = [build_run(composed("+experiment=speedup", *keys(row))) for row in rows(TABLE[line])]
    assert [run.workers for run in found] == [1, 2, 4, 8]
    method, rate, interval = line.split(", ")
    power = {"γ = 0.1": 0, "γ = 0.1√N": 0.5, "γ = 0.1N": 1}[rate]
    for run in found:
        of_corollary = corollary_interval(run.workers, run.info(10_000).steps)
        by_name = {"I = 8": 8, "I of Corollary 1": 8 if run.workers == 1 else of_corollary}
        assert run.interval == run.algorithm.interval == by_name[interval]
        assert run.lr == pytest.approx(0.1 * run.workers**power, abs=1e-4)
        assert run.algorithm.title == method


def keys(row: dict[str, Any]) -> list[str]:
    """A row of a table as overrides, without the table."""
    return ["~runs", "~figures", *(f"{key}={value}" for key, value in row.items())]


def test_a_table_makes_a_run_of_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Six lines of four runs, in which N = 1 is the same; the figure is told of the lines."""
    runs, figures = compose_runs(["+experiment=speedup"])
    assert len(runs) == 24
    names = {run_name(run, "bf16", "data") for run in runs}
    assert len(names) == 19
    assert figures["speedup"]["lines"] == TABLE
    for text, message in (
        ("{a: {workers: [1, 2], lr: [0.1]}}", "runs.a: its lists must be equally long"),
        ("{a: 3}", "runs.a=3: must set keys, as in {workers: [1, 2], lr: 0.1}"),
        (
            "{a: {algorithm: [prsgd, minibatch]}}",
            "runs.a.algorithm: cannot be chosen in a table; leave it out and sweep by "
            "-m algorithm=prsgd,minibatch",
        ),
        (
            "{a: {lr: [0.1, 0.2], model: mlp}}",
            "runs.a.model: cannot be chosen in a table; leave it out and sweep by -m model=mlp",
        ),
        (
            "{a: {data.partition: [iid, shared]}}",
            "runs.a.data.partition: cannot have a dot; write data: [{partition: iid}, "
            "{partition: shared}]",
        ),
        (
            "{a: {data.partition: iid}}",
            "runs.a.data.partition: cannot have a dot; write data: {partition: iid}",
        ),
    ):
        with pytest.raises(UserError) as refusal:
            expand(OmegaConf.create(f"runs: {text}"))
        assert str(refusal.value) == message


def test_a_table_sets_keys_of_groups_in_levels() -> None:
    table = "{a: {data: [{partition: iid}, {partition: shared}], algorithm: {interval: 4}}}"
    made = expand(OmegaConf.create(f"{{runs: {table}, data: {{size: 8}}}}"))
    assert [row.data for row in made] == [
        {"size": 8, "partition": "iid"},
        {"size": 8, "partition": "shared"},
    ]
    assert [row.algorithm.interval for row in made] == [4, 4]


def test_a_table_in_a_sweep_changes_what_is_taken_from_its_keys() -> None:
    """algorithm.interval is taken from interval, and `out` from lr and the number of the job."""
    keys = ("seed=0,1", "out='runs/${hydra:job.num}/${lr}'")
    runs, _ = compose_runs(["+experiment=speedup", "-m", *keys])
    once, _ = compose_runs(["+experiment=speedup"])
    assert [run.algorithm.interval for run in runs] == 2 * [run.interval for run in once]
    assert [run.out for run in runs] == [f"runs/{run.seed}/{run.lr}" for run in runs]


def test_another_spelling_beside_its_key() -> None:
    """A file that says optimizer would win over optimiser on the command line."""
    raw = composed()
    assert build_run({**raw, "optimizer": "sgd"}).optimiser == "sgd"
    alone = {key: value for key, value in raw.items() if key != "optimiser"}
    assert build_run({**alone, "optimizer": "adamw"}).optimiser == "adamw"
    for both in ({**raw, "optimizer": "adamw"}, {"optimizer": "adamw", **raw}):
        with pytest.raises(UserError) as refusal:
            build_run(both)
        assert str(refusal.value) == (
            "optimizer=adamw: optimiser=sgd says otherwise; write optimiser in place of optimizer "
            "in the file"
        )


def no_home(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as refusal:
        call()
    return str(refusal.value)


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    nowhere = "~no-such-user/x"
    line = f"{nowhere}: there is no such home folder"
    for name in ("text", "image_folder", "npz"):
        data = build_run(composed(f"data={name}", f"data.root='{nowhere}'")).data
        assert no_home(data.fingerprint) == f"data.root={line}"
    downloaded = build_run(composed("data=cifar10", f"data.root='{nowhere}'")).data
    reading = partial(downloaded.read, tmp_path, lambda items, n: iter(items))
    assert no_home(reading) == f"data.root={line}"
    assert no_home(partial(located, small_run(start=nowhere))) == f"start={line}"
    planning = partial(plan_runs, [(small_run(out=nowhere), None)], alone=True)
    assert no_home(planning) == f"out={line}"


def test_a_start_in_a_lost_home_is_a_lost_start(tmp_path: Path) -> None:
    """A checkpoint takes its place."""
    run, folder = small_run(start="~no-such-user/x"), RunFolder(tmp_path)
    assert without_lost_start(run, folder) is run
    (folder.checkpoints / "1").mkdir(parents=True)
    (folder.checkpoints / "1/manifest.json").touch()
    assert without_lost_start(run, folder).start == "auto"


METHODS = sorted((conf_dir() / "experiment/family").glob("*.yaml"))


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_every_method_of_the_family_takes_as_many_rounds(path: Path) -> None:
    """On 10,000 images; but for the baseline, and for the one that looks at its losses."""
    raw = composed("+experiment=family", f"experiment/family@_global_={path.stem}")
    run = build_run(raw)
    sent = CommCounter([1], run.workers)
    sent.run(run.algorithm, run.info(10_000))
    assert sent.rounds == {"minibatch": 312}.get(path.stem, 39) or sent.guessed
    own = {"diloco_adamw": ("adamw", 0, 0.002), "prsgd_momentum": ("sgd", 0.9, 0.08)}
    assert (run.optimiser, run.momentum, run.lr) == own.get(path.stem, ("sgd", 0, 0.8))


def test_the_yaml_defaults_are_the_schemas() -> None:
    """So that a run's name, which knows the schema's defaults, is the one that users see."""
    plain = composed()
    for f in fields(Settings):
        default = f.default_factory() if f.default is MISSING else f.default
        assert plain[f.name] == default, f.name
    for group, choice in CHOICES:
        values = composed(f"{group}={choice}", *NEEDED.get(choice, []))[group]
        own = {str(key) for key in values} - {"_target_"}
        keys_of_class = {f.name for f in fields(_class(values["_target_"]))}
        assert own == keys_of_class - {"digest"}, (group, choice)  # which only records have


def _class(target: str) -> type:
    module, _, name = target.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


def test_the_registry_knows_every_class_that_conf_names() -> None:
    for group, choice in CHOICES:
        target = composed(f"{group}={choice}", *NEEDED.get(choice, []))[group]["_target_"]
        name = called(group, _class(target))
        assert class_named(group, name) is _class(target)
        assert PATHS[group][name] == target
        if group == "algorithm":
            assert (name, choice) == (_class(target).name, name)


NAMES = {  # overrides -> names, today's and that of version 0.1
    (): ("prsgd-I8-N4-s0-57b3bab2", "prsgd-I8-N4-s0-3b728cc8"),
    ("algorithm=minibatch", "workers=8"): (
        "minibatch-N8-s0-6f4a3109",
        "minibatch-N8-s0-6124ff96",
    ),
    ("+experiment=quickstart", "seed=3", "momentum=0.9"): (
        "prsgd-I8-N4-s3-bbfbf528",
        "prsgd-I8-N4-s3-e465375e",
    ),
}


@pytest.mark.parametrize("overrides", NAMES, ids=" ".join)
def test_names_are_pinned(overrides: tuple[str, ...]) -> None:
    """A released name never changes: results are found by it."""
    run = build_run(composed(*overrides))
    names = run_name(run, "fp32", run.data.fingerprint()), run_name_of_version_1(run, "fp32")
    assert names == NAMES[overrides]


def test_what_every_run_drops_is_not_in_a_name_of_version_1() -> None:
    one, other = (small_run(remainder=how) for how in ("carry", "drop"))
    assert run_name_of_version_1(one, "fp32") == run_name_of_version_1(other, "fp32")
    assert len({run_name(run, "fp32", "") for run in (one, other)}) == 2


def name(**values: Any) -> str:
    run = small_run(**values)
    return run_name(run, run.precision, run.data.fingerprint())


def test_a_name_says_what_decides_the_curve() -> None:
    base = name()
    for same in (
        {"processes": 2},
        {"threads": 2},
        {"device": "cpu"},
        {"out": "elsewhere"},
        {"interval": 3},  # top-level: the algorithm's own copy is what counts
        {"algorithm": part("prsgd", momentum_at_sync="keep")},  # without momentum
        {"data": part("synthetic", train=160, test=40, size=8, crop=1, flip=True, label="x")},
    ):
        assert name(**same) == base, same
    different = [
        {},
        {"workers": 3},
        {"lr": 0.06},
        {"seed": 1},
        {"precision": "bf16"},
        {"reduction": "exact"},
        {"momentum": 0.9},
        {"momentum": 0.9, "algorithm": part("prsgd", momentum_at_sync="keep")},
        {"algorithm": part("prsgd", interval=3)},
        {"algorithm": part("prsgd", order="literal")},
        {"algorithm": part("minibatch")},
        {"model": part("mlp", width=9)},
        {"data": part("synthetic", train=161, test=40, size=8, crop=1, flip=True)},
    ]
    names = [name(**keys) for keys in different]
    assert len(set(names)) == len(names)
    assert name(algorithm=part("minibatch"), interval=3) == name(algorithm=part("minibatch"))
    assert base.startswith("prsgd-I8-N2-s0-")
    assert name(algorithm=part("one_shot")).startswith("one_shot-N2-s0-")


def test_auto_is_named_by_what_it_came_to() -> None:
    run = replace(small_run(), precision="auto")
    assert run_name(run, "fp32", "f") == run_name(replace(run, precision="fp32"), "fp32", "f")
    assert run_name(run, "bf16", "f") != run_name(run, "fp32", "f")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "workers=0: must be a whole number of at least 1"),
        ({"epochs": float("nan")}, "epochs=nan: must be a number above 0"),
        ({"momentum": 1}, "momentum=1.0: must be a number from 0 up to but not including 1"),
        ({"weight_decay": -1}, "weight_decay=-1.0: must be a number of at least 0"),
        ({"out": ""}, "out=: must be a folder"),
        ({"processes": 2.5}, "processes=2.5: must be auto or a whole number of at least 1"),
        (
            {"processes": 3},
            "processes=3: must be auto or at most workers=2: a process hosts one worker or more",
        ),
        (
            {"schedule": {"_target_": "prsgd.schedule.StepDrops", "at": [0.5, 2]}},
            "schedule.at=[0.5, 2.0]: must be fractions of the run, between 0 and 1",
        ),
        (
            {"algorithm": None},
            "algorithm=None: must be one of adacomm, diloco, easgd, hierarchical, minibatch, "
            "one_shot, outer, post_local, prsgd, prsgd_epochs, prsgd_heterogeneous, qsr, scaffold, "
            "slowmo, vrl_sgd",
        ),
        (
            {"algorithm": {"_target_": "prsgd.algorithms.base.Algorithm"}},
            "algorithm._target_=prsgd.algorithms.base.Algorithm: "
            "must be a class of prsgd, or of a package in plugins, for this group",
        ),
        (
            {"model": part("prsgd")},
            f"model._target_={part('prsgd')['_target_']}: must be a class of prsgd, or of a "
            "package in plugins, for this group",
        ),
    ],
)
def test_impossible_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        small_run(**values)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 200, "batch_size": 1}, "workers=200: must be at most the 160 training images"),
        (
            {"batch_size": 81, "remainder": "drop"},
            "batch_size=81: must be at most 80, a worker's part of 160 training images "
            "(workers=2), with remainder=drop",
        ),
    ],
)
def test_too_few_samples(values: dict[str, Any], message: str) -> None:
    run = small_run(**values)
    with pytest.raises(UserError) as refusal:
        run.steps(160)
    assert str(refusal.value) == message


def test_steps_of_an_epoch() -> None:
    run = small_run(workers=3, batch_size=7, epochs=2.5, remainder="drop")
    assert run.steps_per_epoch(100) == 100 // 21
    assert run.steps(100) == 10
    assert run.drawn_per_epoch(100) == 84
    assert small_run(epochs=0.001).steps(160) == 1


@pytest.mark.parametrize("workers", range(1, 25))
def test_every_number_of_workers_sees_the_same_number_of_images(workers: int) -> None:
    """To within half a step of all workers, for sets that no batch divides."""
    for samples, epochs in ((1498, 20.0), (50_000, 3.0), (1498, 0.7)):
        run = small_run(workers=workers, batch_size=32, epochs=epochs)
        drawn = run.steps(samples) * workers * 32
        assert abs(drawn - epochs * samples) <= workers * 32 / 2
