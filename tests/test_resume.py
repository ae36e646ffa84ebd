"""A run that was stopped anywhere and taken up again is the run that was never stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import numbers, part, small_run, table
from safetensors.torch import load_file

from prsgd import run_folder
from prsgd.config.build import build_run
from prsgd.config.registry import PATHS
from prsgd.config.schema import GROUPS
from prsgd.errors import UserError
from prsgd.run_folder import RunFolder
from prsgd.training import checkpoint_files as checkpoint

STEPS = 40


def stopping_at(step: int) -> Callable[[], int]:
    """SIGINT before the given step of this start."""
    asked = itertools.count(1)
    return lambda: next(asked) >= step


RUNS = {
    "prsgd": {"momentum": 0.9},
    "literal": {"algorithm": part("prsgd", interval=7, order="literal", momentum_at_sync="keep")},
    "minibatch": {"algorithm": part("minibatch"), "momentum": 0.9},
    "one_shot": {"algorithm": part("one_shot")},
    "epochs": {"algorithm": part("epochs", workers=2, steps_scale=2.0)},
    "unequal": {"algorithm": part("unequal", local_steps=[5, 2]), "speeds": [2.0, 1.0]},
    "unequal_adamw": {
        "algorithm": part("unequal", local_steps=[5, 2]),
        **{"optimiser": "adamw", "lr": 1e-3},
    },
    "post_local": {"algorithm": part("post_local", switch="steps", after=6), "momentum": 0.9},
    "hierarchical": {
        "algorithm": part("hierarchical", levels={2: 3, 4: 9}),
        **{"workers": 4, "batch_size": 2, "momentum": 0.9},
    },
    "slowmo": {"algorithm": part("slowmo", interval=3)},
    "diloco": {"algorithm": part("diloco", interval=3), "optimiser": "adamw", "lr": 1e-3},
    "qsr": {
        "algorithm": part("qsr", interval=3, alpha=0.08),
        "schedule": {"_target_": "prsgd.schedule.Cosine", "warmup": 0.1},
    },
    "adacomm": {"algorithm": part("adacomm", interval=9, block=0.2)},
    "easgd": {"algorithm": part("easgd", interval=3), "momentum": 0.9},
    "vrl_sgd": {"algorithm": part("vrl", interval=3)},
    "scaffold": {"algorithm": part("scaffold", interval=3)},
    "adamw": {"optimiser": "adamw", "lr": 1e-3, "momentum_at_sync": "reset"},
    "resnet": {"model": part("resnet", depth=8), "epochs": 0.5},
    "by_label": {"data": part("synthetic", train=160, test=40, size=8, partition="by_label")},
}


@pytest.mark.parametrize("keys", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("step", [1, 5, 8, 20, 21, 39])
def test_resume_equals_uninterrupted(train_here: Callable, keys: dict, step: int) -> None:
    """Bitwise, in every column but the timings, and in the final parameters."""
    run = small_run(**keys)
    assert train_here(run, "whole")[0] == "done"
    status, folder = train_here(run, "stopped", stopping_at(step))
    starts = 1
    while status == "interrupted":
        assert starts < STEPS
        status, folder = train_here(run, "stopped", stopping_at(step))
        starts += 1
    assert status == "done"
    assert starts > 1 or step > run.steps(160) - 32
    whole = RunFolder(folder.path.with_name("whole"))
    for name in ("metrics.csv", "rounds.csv"):
        assert table(folder, name).equals(table(whole, name))
    ours, theirs = (load_file(f.path / "model.safetensors") for f in (folder, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_last_two_checkpoints_are_kept_and_damage_falls_back(
    train_here: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(algorithm=part("prsgd", interval=2))
    train_here(run, "whole")
    for _ in range(3):
        _, folder = train_here(run, "stopped", stopping_at(4))
    found = sorted(path.name for path in folder.checkpoints.iterdir())
    assert found == ["000000012", "000000018"]
    newest = folder.checkpoints / found[1] / "part-0.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    status, _ = train_here(run, "stopped")
    assert status == "done"
    said = capsys.readouterr().out
    line = "checkpoint 000000018 is damaged (part-0.safetensors): going on from 000000012"
    assert line in said
    assert table(folder).equals(table(RunFolder(folder.path.with_name("whole"))))


def test_without_a_whole_checkpoint_the_run_starts_anew(
    train_here: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run()
    train_here(run, "whole")
    _, folder = train_here(run, "stopped", stopping_at(5))
    [path] = folder.checkpoints.iterdir()
    (path / "manifest.json").write_text('{"step": 9')
    capsys.readouterr()
    assert train_here(run, "stopped")[0] == "done"
    assert "checkpoint 000000016 is damaged (manifest.json): starting anew" in (
        capsys.readouterr().out
    )
    assert table(folder).equals(table(RunFolder(folder.path.with_name("whole"))))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "needs rounds.csv, which is gone"),
        ("step,drift\nfive,0.1\n", "does not fit rounds.csv, which is damaged"),
    ],
)
def test_without_its_tables_a_run_starts_anew(
    train_here: Callable, capsys: pytest.CaptureFixture[str], text: str | None, why: str
) -> None:
    run = small_run()
    train_here(run, "whole")
    _, folder = train_here(run, "stopped", stopping_at(5))
    (folder.path / "rounds.csv").unlink()
    if text:
        (folder.path / "rounds.csv").write_text(text)
    capsys.readouterr()
    assert train_here(run, "stopped")[0] == "done"
    said = capsys.readouterr().out
    assert f"checkpoint 000000016 {why}: starting anew" in said
    assert [path.name for path in folder.checkpoints.iterdir()] == ["000000040"]
    for name in ("metrics.csv", "rounds.csv"):
        assert table(folder, name).equals(table(RunFolder(folder.path.with_name("whole")), name))


def test_a_checkpoint_loads_on_any_number_of_processes(train_here: Callable) -> None:
    """Rows are found by worker, whoever hosts them."""
    run = small_run(workers=4, batch_size=2)
    _, folder = train_here(run, "stopped", stopping_at(5))
    [path] = folder.checkpoints.iterdir()
    everything = load_file(path / "part-0.safetensors")
    x = torch.zeros(2, everything["x.0"].numel())
    checkpoint.load(folder.checkpoints, int(path.name), {"x.1": x[0], "x.2": x[1]})
    assert torch.equal(x, torch.stack([everything["x.1"], everything["x.2"]]))
    counters = checkpoint.counters(folder.checkpoints, int(path.name))
    assert counters["workers"]["ledger"]["rounds"] == int(path.name) // 8
    with pytest.raises(UserError, match=r"checkpoint 0+16 in .* lacks x\.4"):
        checkpoint.load(folder.checkpoints, int(path.name), {"x.3": x[0], "x.4": x[1]})


def test_a_row_cut_short_after_the_checkpoint_costs_nothing(train_here: Callable) -> None:
    run = small_run(algorithm=part("minibatch"))
    train_here(run, "whole")
    _, folder = train_here(run, "stopped", stopping_at(5))
    with (folder.path / "rounds.csv").open("a") as file:
        file.write("17,0.5,2")
    assert train_here(run, "stopped")[0] == "done"
    whole = RunFolder(folder.path.with_name("whole"))
    assert table(folder, "rounds.csv").equals(table(whole, "rounds.csv"))


def test_tables_of_another_version_are_not_gone_on_with(
    train_here: Callable,
) -> None:
    """The record declares its columns, and a table has to have them."""
    _, folder = train_here(small_run(), "stopped", stopping_at(5))
    measured = checkpoint.counters(folder.checkpoints, 16)["tables"]
    assert folder.damage(measured) == ""
    config = folder.path / "config.yaml"
    config.write_text(config.read_text().replace("  - seconds\n", ""))
    assert (
        RunFolder(folder.path).damage(measured)
        == "is of another version: rounds.csv has other columns"
    )


def as_version_1(folder: RunFolder) -> None:
    """Rewrite a record and its checkpoints as prsgd 0.1 wrote them."""
    record = yaml.safe_load((folder.path / "config.yaml").read_text())
    del record["tables"]
    for group in GROUPS:
        record[group]["_target_"] = PATHS[group][record[group].pop("name")]
    (folder.path / "config.yaml").write_text(yaml.safe_dump({**record, "version": 1}))
    for path in folder.checkpoints.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        counters = manifest["counters"]
        workers = counters.pop("workers")
        names = workers["names"]
        counters |= {
            "ledger": {k: v for k, v in workers["ledger"].items() if k != "burst"},
            "local_steps": workers["local_steps"],
            "numbers": workers["scalars"],
            "names": {"rows": names["per_worker"], "shared": names["replicated"]},
        }
        del manifest["sha256"]
        sealed = {"sha256": checkpoint._seal(manifest), **manifest}
        path.write_text(json.dumps(sealed, indent=2) + "\n")


@pytest.mark.parametrize("name", ["prsgd", "hierarchical", "slowmo", "adacomm", "scaffold"])
def test_a_run_of_version_1_is_gone_on_with(
    train_here: Callable, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(**RUNS[name])
    with monkeypatch.context() as earlier:
        for columns in ("AFTER_METRICS", "ROUNDS"):
            old = [c for c in getattr(run_folder, columns) if c not in run_folder.NEW_COLUMNS]
            earlier.setattr(run_folder, columns, old)
        train_here(run, "whole")
        _, folder = train_here(run, "stopped", stopping_at(5))
    as_version_1(folder)
    assert build_run(RunFolder(folder.path).config()) == run
    assert train_here(run, "stopped")[0] == "done"
    whole = RunFolder(folder.path.with_name("whole"))
    for file in ("metrics.csv", "rounds.csv"):
        assert table(folder, file).equals(table(whole, file))
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["version"] == 1


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_damage_to_any_file_is_seen(train_here: Callable, tmp_path: Path) -> None:
    """200 files cut short or with a bit flipped: always the same curve, never another one."""
    run = small_run(algorithm=part("scaffold", interval=3), epochs=1)
    whole = train_here(run, "whole")[1]
    train_here(run, "first", stopping_at(4))
    _, stopped = train_here(run, "first", stopping_at(4))
    rng, seen = np.random.default_rng(0), 0
    for trial in range(200):
        victim = shutil.copytree(stopped.path, tmp_path / f"v{trial}")
        files = [*victim.glob("*.csv"), *victim.glob("checkpoint/*/*")]
        target = files[trial % len(files)]
        content = bytearray(target.read_bytes())
        if trial % 2:
            del content[rng.integers(len(content)) :]
        else:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        target.write_bytes(content)
        status, folder = train_here(run, victim.name)
        assert status == "done"
        for name in ("metrics.csv", "rounds.csv"):
            assert table(folder, name).equals(table(whole, name)), (trial, target)
        ours, theirs = (load_file(f.path / "model.safetensors") for f in (folder, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        shutil.rmtree(victim)
        seen += 1
    assert seen == 200


def test_a_start_anew_forgets_the_checkpoints_of_before(train_here: Callable) -> None:
    """Or a later resumption would go on from them."""
    run = small_run(algorithm=part("prsgd", interval=2))
    train_here(run, "whole")
    for _ in range(2):
        _, folder = train_here(run, "stopped", stopping_at(15))
    (folder.path / "metrics.csv").unlink()
    assert train_here(run, "stopped", stopping_at(4))[0] == "interrupted"
    assert [path.name for path in folder.checkpoints.iterdir()] == ["000000006"]
    assert train_here(run, "stopped")[0] == "done"
    assert table(folder).equals(table(RunFolder(folder.path.with_name("whole"))))


def test_a_non_finite_loss_ends_the_run_as_diverged(train_here: Callable) -> None:
    run = small_run(lr=1e9, algorithm=part("prsgd", interval=3))
    status, folder = train_here(run)
    assert status == "diverged"
    said = json.loads((folder.path / "status.json").read_text())
    assert said["status"] == "diverged"
    assert "the training loss is nan at step" in said["why"]
    in_the_next_round = int(said["why"].rpartition(" ")[2]) + 3
    assert numbers(folder)["step"].iloc[-1] == in_the_next_round
    assert numbers(folder, "rounds.csv")["step"].iloc[-1] == in_the_next_round


@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_divergence_is_noticed_at_an_averaging(train_here: Callable, reduction: str) -> None:
    run = small_run(lr=1e30, algorithm=part("prsgd", interval=3), reduction=reduction)
    assert train_here(run)[1].status()[1].endswith("at step 3")
