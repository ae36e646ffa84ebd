"""Runs that start at weights of a file: what a finished run left, or anybody's state_dict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Trainer, bound, numbers, part, small_run, table
from safetensors.torch import load_file, save_file
from test_own_modules import ACCEPTED, buffer, net, refusal, run_of
from test_resume import stopping_at
from torch import Tensor, nn

from prsgd.config.naming import curve_config
from prsgd.config.schema import Run
from prsgd.config.start import WEIGHTS, located
from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError
from prsgd.launch.planning import plan_runs
from prsgd.run_folder import RunFolder
from prsgd.training.module import build_module
from prsgd.training.setup import build_workers

MLP, RESNET = {"model": part("mlp", width=8)}, {"model": part("resnet", depth=8)}
EVALUATED = ["consensus_train_loss", "test_loss", "test_accuracy"]
OWN = ["tied", "frozen", "pretrained", "own buffers", "spectral_norm", "weight_norm", "LSTM"]
OWN += ["BatchNorm2d of all batches", "SyncBatchNorm"]
BUILDS = {
    "lazy": lambda: net(nn.LazyLinear(192)),
    "a buffer that is not finite": lambda: buffer(torch.tensor([0.0, -torch.inf])),
    "a buffer that is spread": lambda: buffer(torch.zeros(3).expand(4, 3)),
    **{kind: ACCEPTED[kind] for kind in OWN},
}


def starting_at(path: Path, **values: Any) -> Run:
    return located(small_run(start=str(path), **values))


def state_of(run: Run) -> dict[str, Tensor]:
    return {name: own.clone() for name, own in build_module(run, False).module.state_dict().items()}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Those of another seed."""
    path = tmp_path / "weights.safetensors"
    save_file(state_of(small_run(seed=5, **MLP)), path)
    return path


@pytest.mark.parametrize("model", [MLP, RESNET], ids=["MLP", "ResNet-8"])
@pytest.mark.parametrize("method", ["prsgd", "diloco", "scaffold", "post_local"])
def test_a_run_begins_where_another_one_ended(
    train_here: Trainer, model: dict[str, Any], method: str
) -> None:
    """The losses of the old consensus are those of the new one before its first step."""
    _, old = train_here(small_run(epochs=0.5, **model), "old")
    new = starting_at(
        old.path / "model.safetensors", workers=4, epochs=0.5, algorithm=part(method), **model
    )
    status, folder = train_here(new, "new")
    assert status == "done"
    assert table(folder)[EVALUATED].iloc[0].equals(table(old)[EVALUATED].iloc[-1])
    assert numbers(folder)["drift"].iloc[0] == 0


@pytest.mark.parametrize("model", [MLP, RESNET], ids=["MLP", "ResNet-8"])
def test_all_workers_are_at_the_weights_bitwise(
    tmp_path: Path, cache: Path, model: dict[str, Any]
) -> None:
    path, state = tmp_path / "weights.safetensors", state_of(small_run(seed=5, **model))
    state = {n: own + 0.25 if own.is_floating_point() else own for n, own in state.items()}
    save_file(state, path)
    run = starting_at(path, workers=3, **model)
    workers = build_workers(run, bound(run, cache), Communicator(3, "cpu", "fast"), bf16=False)
    for own in workers.models:
        assert all(torch.equal(value, state[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize("kind", BUILDS)
def test_a_module_of_ones_own_takes_its_whole_state(tmp_path: Path, kind: str) -> None:
    path, state = tmp_path / "weights.safetensors", state_of(run_of(BUILDS[kind], seed=5))
    state = {n: own + 0.25 if own.is_floating_point() else own for n, own in state.items()}
    save_file(state, path)
    found = state_of(located(run_of(BUILDS[kind], start=str(path))))
    assert found.keys() == state.keys()
    assert all(torch.equal(own, state[name]) for name, own in found.items())


def test_a_file_may_have_one_name_of_a_tied_tensor(tmp_path: Path) -> None:
    """As safetensors' `save_model` writes it."""
    path, state = tmp_path / "weights.safetensors", state_of(run_of(ACCEPTED["tied"], seed=5))
    save_file({name: own for name, own in state.items() if name != "2.weight"}, path)
    found = state_of(located(run_of(ACCEPTED["tied"], start=str(path))))
    assert all(torch.equal(own, state[name]) for name, own in found.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_point_numbers_are_converted(
    weights: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    state = {name: own.to(dtype) for name, own in load_file(weights).items()}
    save_file(state, tmp_path / "others.safetensors")
    found = state_of(starting_at(tmp_path / "others.safetensors", **MLP))
    assert all(torch.equal(own, state[name].float()) for name, own in found.items())


class Steep(nn.Module):
    """Fails where its scale is above 1."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = net()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale > 1:
            raise ValueError("too steep")
        return self.linear(x)


def test_a_module_is_tried_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(Steep().state_dict(), path)
    assert refusal(run_of(Steep, start=str(path))) == ""
    save_file({**Steep().state_dict(), "scale": torch.tensor(2.0)}, path)
    assert refusal(run_of(Steep, start=str(path))) == (
        "a step on (2, 3, 8, 8), (2,) fails (ValueError: too steep)"
    )


NAN = torch.full((8,), torch.nan)
ODD: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "a name too few": (lambda s: s.pop("1.bias"), "it lacks 1 tensor (1.bias) of MLP-8"),
    "other names": (
        lambda s: [s.update({f"model.{name}": s.pop(name)}) for name in [*s]],
        "it lacks 4 tensors (1.weight, 1.bias, 3.weight, ...) of MLP-8",
    ),
    "a name too many": (
        lambda s: s.update(extra=torch.zeros(1)),
        "it has 1 tensor (extra), which MLP-8 has not",
    ),
    "another shape": (
        lambda s: s.update({"1.bias": torch.zeros(9)}),
        "1.bias has shape (9,), and (8,) in MLP-8",
    ),
    "another kind": (
        lambda s: s.update({"1.bias": torch.zeros(8, dtype=torch.int64)}),
        "1.bias is int64, and float32 in MLP-8",
    ),
    "NaN": (
        lambda s: s.update({"1.bias": NAN}),
        "1.bias has numbers that are not finite in float32",
    ),
    "too large": (
        lambda s: s.update({"1.bias": torch.full((8,), 1e300, dtype=torch.float64)}),
        "1.bias has numbers that are not finite in float32",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_weights_that_do_not_fit_are_one_line(weights: Path, tmp_path: Path, kind: str) -> None:
    """Before anything is written."""
    change, line = ODD[kind]
    state = load_file(weights)
    change(state)
    path = tmp_path / "odd.safetensors"
    save_file(state, path)
    run = small_run(start=str(path), out=str(tmp_path / "runs"), device="cpu", **MLP)
    with pytest.raises(UserError) as refused:
        plan_runs([(run, None)], alone=True)
    assert str(refused.value) == f"start={path}: {line}"
    assert not (tmp_path / "runs").exists()


def test_tied_tensors_may_not_differ(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.safetensors", state_of(run_of(ACCEPTED["tied"]))
    save_file({**state, "1.weight": state["1.weight"] + 1}, path)
    assert refusal(run_of(ACCEPTED["tied"], start=str(path))) == (
        f"start={path}: 1.weight and 2.weight differ, and are one tensor in own"
    )


def test_what_is_no_file_of_weights_is_one_line(tmp_path: Path, prsgd: Command) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("these are no weights, and never were")
    must = f"it must be {WEIGHTS}"
    keys = ("model=mlp", "data=synthetic", "data.size=8", "device=cpu", "--dry-run")
    for start, line in {
        "nowhere": f"start=nowhere: there is no such file; {must}",
        "folder": f"start=folder: it is no file; {must}",
        "text": f"start={tmp_path}/text: it cannot be read (",
    }.items():
        done = prsgd("train", *keys, f"start={start}")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"prsgd: {line}")
        assert done.stderr.endswith(f"{must}\n")
    for values, line in {
        ("start_sha256=abc",): "start_sha256=abc: must be auto or 64 hexadecimal digits",
        (f"start_sha256={'a' * 64}",): f"start_sha256={'a' * 64}: needs start",
        ("start=",): "start=: must be auto or a safetensors file",
    }.items():
        done = prsgd("train", *keys, *values)
        assert (done.returncode, done.stderr) == (2, f"prsgd: {line}\n")


def test_a_name_knows_the_content_and_not_the_path(weights: Path, tmp_path: Path) -> None:
    def planned(path: Path | None) -> Any:
        start = {} if path is None else {"start": str(path)}
        [found] = plan_runs(
            [(small_run(out=str(tmp_path), device="cpu", **start, **MLP), None)], alone=True
        )
        return found

    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    one, same, none = planned(weights), planned(copy), planned(None)
    assert one.folder.path == same.folder.path != none.folder.path
    assert one.run.start == str(weights)
    assert one.run.start_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    state = load_file(copy)
    state["1.bias"][0] += 1
    save_file(state, copy)
    other = planned(copy)
    assert other.folder.path not in (one.folder.path, none.folder.path)
    curves = [curve_config(p.run.as_dict()) for p in (one, same, other)]  # as figures know them
    assert curves[0] == curves[1] != curves[2]


@pytest.mark.parametrize("keeps_file", [True, False])
def test_resuming_needs_no_file_and_changes_no_bit(
    weights: Path, train_here: Trainer, keeps_file: bool
) -> None:
    run = starting_at(weights, checkpoint_seconds=0, **MLP)
    _, whole = train_here(run, "whole")
    status, _ = train_here(run, "parts", stopping_at(9))
    assert status == "interrupted"
    if not keeps_file:
        weights.unlink()
    status, folder = train_here(run, "parts")
    assert status == "done"
    assert table(folder).equals(table(whole))
    name = "model.safetensors"
    assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_frozen_parameters_outlive_the_file(tmp_path: Path, cache: Path) -> None:
    path, state = tmp_path / "weights.safetensors", state_of(run_of(ACCEPTED["frozen"], seed=5))
    save_file(state, path)
    run = located(run_of(ACCEPTED["frozen"], start=str(path)))
    task, communicator = bound(run, cache), Communicator(2, "cpu", "fast")
    saved = build_workers(run, task, communicator, False).state_tensors()
    assert torch.equal(saved["frozen/1.bias.all"], state["1.bias"])
    again = build_workers(replace(run, start="auto"), task, communicator, False)
    for name, own in again.state_tensors().items():
        own.copy_(saved[name])
    model, _ = again.consensus(None)
    for found in (*again.models, model):
        assert torch.equal(found.get_parameter("1.bias"), state["1.bias"])


def test_a_lost_file_and_a_damaged_checkpoint(weights: Path, train_here: Trainer) -> None:
    """The run would begin anew, and at what nobody knows."""
    run = starting_at(weights, **MLP)
    _, folder = train_here(run, "run", stopping_at(9))
    [checkpoint] = folder.checkpoints.iterdir()
    (checkpoint / "manifest.json").write_text("{")
    weights.unlink()
    with pytest.raises(UserError) as refused:
        train_here(run, "run")
    line = f"start={weights}: there is no such file; it must be {WEIGHTS}"
    assert str(refused.value) == line
    assert folder.status() == ("failed", line)


def test_a_file_that_changes_before_it_is_read(weights: Path, train_here: Trainer) -> None:
    run = starting_at(weights, **MLP)
    state = load_file(weights)
    save_file({**state, "1.bias": state["1.bias"] + 1}, weights)
    now = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(UserError) as refused:
        train_here(run, "run")
    assert str(refused.value) == (
        f"start={weights}: its SHA-256 is {now}, and must be {run.start_sha256}; the file has "
        "other content than it had"
    )


KEYS = ("model=mlp", "model.width=8", "data=synthetic", "data.train=160", "data.test=40")
KEYS += ("data.size=8", "batch_size=4", "epochs=0.5", "device=cpu", "threads=1", "workers=3")
KEYS += ("reduction=exact", "precision=fp32", "algorithm=post_local", "start=weights.safetensors")


@pytest.mark.dist
def test_processes_do_not_matter(tmp_path: Path, weights: Path, prsgd: Command) -> None:
    models, firsts = [], []
    for processes in (1, 2):
        done = prsgd("train", *KEYS, f"processes={processes}", f"out=out{processes}")
        assert done.returncode == 0, done.stderr
        [folder] = (tmp_path / f"out{processes}").iterdir()
        models.append((folder / "model.safetensors").read_bytes())
        firsts.append(table(folder).iloc[0])
    assert models[0] == models[1]
    assert firsts[0].equals(firsts[1])


def test_a_run_goes_on_from_anywhere(tmp_path: Path, weights: Path, prsgd: Command) -> None:
    """From its record, and with a file that was moved, but with no other one."""
    done = prsgd("train", *KEYS, "processes=1")
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "runs").iterdir()
    folder = RunFolder(path)
    config = folder.config()
    assert config["start"] == str(weights)
    assert config["start_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    moved, other = tmp_path / "moved", tmp_path / "other"
    state = load_file(weights)
    save_file({**state, "1.bias": state["1.bias"] + 1}, other)
    weights.rename(moved)
    assert "skipped" in prsgd("run", str(path)).stdout
    folder.set_status("interrupted")
    assert prsgd("run", str(path)).returncode == 0
    for checkpoint in folder.checkpoints.iterdir():
        (checkpoint / "manifest.json").unlink()
    metrics = table(path)
    for argument, line in {
        (): f"start={weights}: there is no such file; it must be {WEIGHTS}",
        ("start=other",): (
            f"start={other}: its SHA-256 is {hashlib.sha256(other.read_bytes()).hexdigest()}, and "
            f"must be {config['start_sha256']}; the file has other content than it had"
        ),
    }.items():
        folder.set_status("interrupted")
        refused = prsgd("run", str(path), *argument)
        assert (refused.returncode, refused.stderr) == (2, f"prsgd: {line}\n")
    again = prsgd("run", str(path), "start=moved")
    assert again.returncode == 0, again.stderr
    assert table(path).equals(metrics)


def test_a_run_that_began_without_a_file_is_given_none(
    tmp_path: Path, weights: Path, prsgd: Command
) -> None:
    folder = RunFolder(tmp_path / "run")
    run = small_run(**MLP)
    folder.create(run.as_dict(), run.measures())
    refused = prsgd("run", "run", f"start={weights}")
    line = f"prsgd: start={weights}: run did not start at a file\n"
    assert (refused.returncode, refused.stderr) == (2, line)


def test_what_trains_nothing_needs_no_file(tmp_path: Path, weights: Path, prsgd: Command) -> None:
    (tmp_path / "text").write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(300)))
    keys = ["data=text", "data.root=text", "model.depth=1", "model.width=16", "model.heads=2"]
    keys += ["task.context=16", "batch_size=4", "epochs=0.2", "device=cpu", "processes=1"]
    advice = prsgd("advise", *keys, "start=nowhere", "--step-ms=1")
    assert advice.returncode == 0, advice.stderr
    assert prsgd("train", *keys, "out=first").returncode == 0
    [first] = (tmp_path / "first").iterdir()
    (first / "model.safetensors").rename(tmp_path / "gpt.safetensors")
    done = prsgd("train", *keys, "start=gpt.safetensors", "seed=1")
    assert done.returncode == 0, done.stderr
    (tmp_path / "gpt.safetensors").unlink()
    [folder] = (tmp_path / "runs").iterdir()
    written = prsgd("sample", str(folder), "--tokens=5")
    assert (written.returncode, written.stderr) == (0, "")
