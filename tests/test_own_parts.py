"""A model, a set, a task and a schedule of one's own, as scripts/own shows them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from torch import nn

from prsgd.config.build import build_run
from prsgd.config.naming import curve_config
from prsgd.config.plan import strategy
from prsgd.config.schema import Run
from prsgd.models.digest import digest_of_model, digest_of_object
from prsgd.training.module import build_module

OWN = Path(__file__).parents[1] / "scripts/own"
COMMAND = (
    *("train", "--config-dir", "conf", "plugins=[mine]"),
    *("model=two_layers", "data=waves", "task=denoising", "schedule=root"),
)
FAST = ("data.train=200", "workers=2", "batch_size=8", "interval=3", "device=cpu", "threads=1")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy of the folder, in which the command runs."""
    shutil.copytree(OWN, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_example_shows_the_command() -> None:
    shown = re.sub(r"\\\n +", "", (OWN / "mine.py").read_text().replace("\\\\", "\\"))
    assert " ".join(("prsgd", *COMMAND)).replace("plugins=[mine]", "'plugins=[mine]'") in shown


@pytest.mark.dist
def test_all_four_train_together(here: Path, prsgd: Command) -> None:
    """On one process and on two to the same bits, and the metric is the task's own."""
    models = []
    for processes in (1, 2):
        keys = (f"processes={processes}", f"out=out{processes}", "reduction=exact", "epochs=20")
        done = prsgd(*COMMAND, *FAST, *keys)
        assert done.returncode == 0, done.stderr
        assert "waves: 200 + 300 samples, 32 features, 3 classes" in done.stdout
        [folder] = (here / f"out{processes}").iterdir()
        models.append((folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]
    shown = re.search(r"test noise removed +([\d.]+)%", done.stdout)
    assert shown
    metrics = pd.read_csv(folder / "metrics.csv")
    last = metrics["test_removed"].iloc[-1]
    assert float(shown[1]) == pytest.approx(100 * last, abs=0.01)
    assert last > 0.3
    rates = metrics["lr"][1:]
    steps = metrics["step"][1:]
    assert rates.tolist() == pytest.approx(0.4 / np.sqrt(1 + 10 * (steps - 1) / steps.iloc[-1]))
    assert "plugins=[mine]" in prsgd("run", str(folder)).stderr
    again = prsgd("run", str(folder), "plugins=[mine]")
    assert "skipped" in again.stdout
    assert f"test noise removed {last:.2%}" in again.stdout
    drawn = prsgd("figures", "out2", "--out", "figures")
    assert drawn.returncode == 0, drawn.stderr
    assert "test noise removed (%)" in drawn.stdout
    assert any("noise removed" in svg.read_text() for svg in here.rglob("epochs.svg"))


def test_it_is_resumed_to_the_same_bits(here: Path, prsgd: Command) -> None:
    """A run that lost its end goes on from its checkpoint."""
    keys = (*FAST, "processes=1", "epochs=4", "checkpoint_seconds=0")
    assert prsgd(*COMMAND, *keys, "out=whole").returncode == 0
    code = (here / "mine.py").read_text()
    stop = "        if max(draws) == 30:\n            raise RuntimeError('stopped')\n"
    place = "        clean, _ = super().batch(workers, draws)\n"
    assert code.count(place) == 1
    (here / "mine.py").write_text(code.replace(place, stop + place))
    failed = prsgd(*COMMAND, *keys, "out=parts", "restarts=0")
    assert failed.returncode == 1
    assert "stopped" in failed.stderr
    (here / "mine.py").write_text(code)
    resumed = prsgd(*COMMAND, *keys, "out=parts")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming at step" in resumed.stdout
    [whole], [parts] = ([*(here / out).iterdir()] for out in ("whole", "parts"))
    first, second = (folder / "model.safetensors" for folder in (whole, parts))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "keys",
    [
        ("data=waves", "task=classification", "data.partition=by_label"),
        ("data=npz", "data.root=own.npz", "task=denoising", "model=mlp"),
        ("data=npz", "data.root=own.npz", "task=regression", "model=two_layers", "schedule=root"),
    ],
)
def test_each_goes_with_others(here: Path, prsgd: Command, keys: tuple[str, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    np.savez(here / "own.npz", x_train=x, y_train=x[:, 0], x_test=x, y_test=x[:, 0])
    few = ("workers=2", "batch_size=8", "epochs=1", "processes=1", "device=cpu")
    done = prsgd("train", "--config-dir", "conf", "plugins=[mine]", *keys, *few)
    assert done.returncode == 0, done.stderr


REFUSED = {
    "images": (
        "",
        ("data=digits", "task=denoising"),
        "data=digits: is no SampleSet, from which task=mine.Denoising learns",
    ),
    "tasks": (
        "",
        ("data=waves", "task=image_classification"),
        "data=mine.Waves: serves task=classification, regression, not task=image_classification",
    ),
    "none": (
        "Waves.tasks = ()",
        ("data=waves", "task=classification"),
        "data=mine.Waves: serves tasks of its own, not task=classification",
    ),
    "annotations": (
        "Denoising.__annotations__['noise'] = 'Missing'",
        ("data=waves", "task=denoising"),
        "task._target_: the annotations of Denoising cannot be read (name 'Missing' is not "
        "defined); what they name must be imported",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line(here: Path, prsgd: Command, case: str) -> None:
    code, keys, message = REFUSED[case]
    with (here / "mine.py").open("a") as file:
        file.write(f"\n{code}\n")
    done = prsgd("train", "--config-dir", "conf", "plugins=[mine]", *keys, "--dry-run")
    assert (done.returncode, done.stderr) == (2, f"prsgd: {message}\n")


def test_a_loss_of_ones_own_is_tried_and_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph would repeat for ever what the loss drew when it was recorded."""
    monkeypatch.syspath_prepend(str(OWN))
    import mine

    class Jittered(mine.Denoising):
        def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
            return super().loss(model, batch) * torch.rand(())

    monkeypatch.setattr(mine, "Jittered", Jittered, raising=False)
    Jittered.__qualname__ = "Jittered"
    kind = {"model": {"name": "mlp"}, "data": {"_target_": "mine.Waves", "train": 60}}
    kind |= {"algorithm": {"name": "prsgd"}, "schedule": {"name": "constant"}}
    own_tasks = [{"_target_": f"mine.{name}"} for name in ("Denoising", "Jittered")]
    ours, own, drawing = (
        build_run({**kind, "task": task, "plugins": ["mine"]})
        for task in ({"name": "classification"}, *own_tasks)
    )
    assert [strategy(run, "cuda") for run in (ours, own, drawing)] == ["graph", "loop", "loop"]
    assert [build_module(run, bf16=False).draws for run in (own, drawing)] == [False, True]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise ValueError('torn')", "a step on (2, 32), (2, 32) fails (ValueError: torn)"),
        ("return 3.0", "the loss is a value of type float; it must be a tensor of one number"),
        (
            "return model(batch[0]).square().mean()[None]",
            "the loss has the shape (1,); it must be one number without an axis, such as a mean",
        ),
    ],
)
def test_a_broken_loss_is_called_by_its_task(
    here: Path, prsgd: Command, body: str, why: str
) -> None:
    """The model is prsgd's, and not at fault."""
    with (here / "mine.py").open("a") as file:
        file.write(f"\n\ndef torn(self, model, batch):\n    {body}\n\n\nDenoising.loss = torn\n")
    keys = ("model=mlp", "data=waves", "task=denoising")
    done = prsgd(*COMMAND[:4], *keys, *FAST)
    message = f"task._target_=mine.Denoising: {why}"
    assert (done.returncode, done.stderr) == (2, f"prsgd: {message}\n")


def test_the_share_of_noise_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that returns its input removes nothing, and one that knows the sample all."""
    monkeypatch.syspath_prepend(str(OWN))
    import mine

    class Run:
        workers, batch_size, seed, remainder, evaluate_samples = 2, 4, 0, "carry", 100
        data, task = mine.Waves(train=60), mine.Denoising()

    samples = Run.data.samples()
    arrays = Run.data.read(Path(), lambda items, n: iter(items)).arrays
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    task = Run.task.bind(Run(), tensors, {})
    [chunk] = task.chunks("test")
    assert task.summary(task.evaluate(nn.Identity(), chunk))["removed"] == pytest.approx(
        0, abs=1e-6
    )

    class Knows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return chunk[0]

    assert task.summary(task.evaluate(Knows(), chunk)) == {"loss": 0, "removed": 1}
    noisy, clean = task.batch([0, 1], [3, 3])
    assert {tuple(x) for x in clean.reshape(-1, 32).tolist()} <= {
        tuple(x) for x in samples.x_train.tolist()
    }
    assert (noisy - clean).std().item() == pytest.approx(0.5, rel=0.2)
    assert not torch.equal(noisy[0] - clean[0], noisy[1] - clean[1])


# what objects of Python's are known by ------------------------------------------------------------


def run_with(loss: Any) -> Run:
    kind: dict[str, Any] = {"model": {"name": "mlp"}, "data": {"name": "npz", "root": "x.npz"}}
    kind |= {"algorithm": {"name": "prsgd"}, "schedule": {"name": "constant"}}
    run = build_run({**kind, "task": {"name": "classification"}})
    if loss is not None:
        task: Any = run.task
        task.give(loss)
    return run


def scaled(factor: float) -> Callable[..., torch.Tensor]:
    return lambda output, target: factor * nn.functional.cross_entropy(output, target)


LOSSES: dict[str, Callable[[], Any]] = {
    "auto": lambda: None,
    "plain": nn.CrossEntropyLoss,
    "smooth": lambda: nn.CrossEntropyLoss(label_smoothing=0.3),
    "weighted": lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])),
    "weighted otherwise": lambda: nn.CrossEntropyLoss(weight=torch.tensor([2.0, 1.0])),
    "lambda": lambda: lambda output, target: output.sum(),
    "another lambda": lambda: lambda output, target: output.mean(),
    "closure": lambda: scaled(1.0),
    "another closure": lambda: scaled(2.0),
}


def test_losses_of_one_name_are_told_apart() -> None:
    curves = {name: curve_config(run_with(make()).as_dict()) for name, make in LOSSES.items()}
    assert len({str(curve) for curve in curves.values()}) == len(LOSSES)
    for name, make in LOSSES.items():
        assert curve_config(run_with(make()).as_dict()) == curves[name]
    assert curves["plain"]["task.criterion"] == curves["smooth"]["task.criterion"]


def test_what_a_loss_holds_follows_the_answers() -> None:
    task: Any = run_with(nn.CrossEntropyLoss(weight=torch.ones(2))).task
    answers, targets = torch.zeros(3, 2, device="meta"), torch.zeros(3, dtype=int, device="meta")
    assert task.mean_loss(answers, targets).device.type == "meta"


def test_a_record_without_the_digest_of_a_loss_is_read() -> None:
    record = run_with(nn.CrossEntropyLoss()).as_dict()
    assert record["task"].pop("digest")
    assert build_run(record).as_dict()["task"] == record["task"]
    assert curve_config(record)["task.digest"] == "-"
    assert run_with(None).as_dict()["task"] == {"name": "classification", "criterion": "auto"}


class Scale:
    """A maker and a loss with an attribute."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self) -> nn.Module:
        return nn.Linear(4, int(self.factor))

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.factor * (output - target).abs().mean()


@dataclass
class Shape:
    width: int
    kinds: frozenset[str] = frozenset("abc")


def maker(width: int) -> Callable[..., nn.Module]:
    """With a default, a keyword's default, and a variable from outside."""

    def make(features: int = 3, *, outputs: int = 2) -> nn.Module:
        return nn.Sequential(nn.Linear(features, width), nn.Linear(width, outputs))

    return make


def with_defaults(*defaults: int, outputs: int = 2) -> Callable[..., nn.Module]:
    made: Any = maker(5)
    made.__defaults__, made.__kwdefaults__ = defaults, {"outputs": outputs}
    return made  # type: ignore[no-any-return]


def around(value: Any) -> Callable[[], Any]:
    return lambda: value


def filled(value: float, buffer: float = 0.0) -> nn.Module:
    module = nn.Linear(2, 2, bias=False)
    module.register_buffer("own", torch.full((), buffer), persistent=False)
    nn.init.constant_(module.weight, value)
    return module.bfloat16()


class Refuses:
    def __repr__(self) -> str:
        raise ValueError


def recursive() -> Callable[[], Any]:
    def own() -> Any:
        return own

    return own


def unset() -> Callable[[], Any]:
    def own() -> Any:
        return later

    if not own:
        later = 1
    return own


SOURCES: list[Callable[[], Any]] = [
    lambda: maker(5),
    lambda: maker(6),
    lambda: with_defaults(4),
    lambda: with_defaults(3, outputs=3),
    lambda: filled(1.0),
    lambda: filled(2.0),
    lambda: filled(1.0, 1.0),
    lambda: Scale(1.0),
    lambda: Scale(2.0),
    lambda: Scale(1.0).loss,
    lambda: Scale(2.0).loss,
    lambda: around(Shape(1)),
    lambda: around(Shape(2)),
    lambda: around({"b": {"x", "y", "z"}, "a": [1]}),
    lambda: around({"b": {"x", "y", "w"}, "a": [1]}),
    lambda: around(np.arange(3)),
    lambda: around(np.arange(3) + 1),
    lambda: around(torch.arange(3)),
    lambda: around(torch.zeros(0)),
    lambda: around(torch.zeros(2, device="meta")),
    lambda: around(torch.eye(2).to_sparse()),
    lambda: around(nn.UninitializedParameter()),
    lambda: around(object()),
    lambda: around(Refuses()),
    lambda: around(Scale),
    lambda: around("\udce4"),
    lambda: around(nn.functional.linear),
    lambda: around(nn.functional.conv2d),
    recursive,
    unset,
]


def test_a_module_is_known_without_the_numbers_that_it_starts_at() -> None:
    """As they differ from call to call, a run goes on, and seeds of a model are one curve."""
    first, second, wider = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 4)
    assert not torch.equal(first.weight, second.weight)
    assert digest_of_model(first) == digest_of_model(second) != digest_of_model(wider)
    assert digest_of_model(nn.Dropout(0.1)) != digest_of_model(nn.Dropout(0.2))
    assert digest_of_model(nn.LazyLinear(2)) != digest_of_model(nn.LazyLinear(3))
    assert digest_of_model(maker(5)) != digest_of_model(maker(6))


def source_digests() -> list[str]:
    return [digest_of_object(make()) for make in SOURCES]


def test_objects_are_known_by_what_they_consist_of() -> None:
    """Defaults, variables from outside and weights count, and no address or order of a hash."""
    found = source_digests()
    alike = {place for place, own in enumerate(found) if found.count(own) > 1}
    assert alike == {19, 20}  # tensors without dense numbers are known by their type
    program = "from test_own_parts import source_digests; print(*source_digests())"
    for seed in ("1", "2"):
        elsewhere = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert elsewhere.split() == found
