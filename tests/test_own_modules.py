"""Modules of a user's own: what rows train as plain torch does, and what they refuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, bound, drawn, small_run
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torchvision.models import resnet18

from prsgd.config.schema import Run
from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError
from prsgd.models import Model
from prsgd.rng import Purpose, generator
from prsgd.training.module import build_module
from prsgd.training.setup import build_workers
from prsgd.training.views import row_of
from prsgd.training.workers import RowWorkers

SIZE, CLASSES = 8, 10
Build = Callable[[], nn.Module]


@dataclass
class Own(Model):
    """Whatever a function returns."""

    make: Any = None

    @property
    def title(self) -> str:
        return "own"

    def build(self, size: int, classes: int) -> nn.Module:
        made: nn.Module = self.make()
        return made


def run_of(build: Callable[[], Any], **values: Any) -> Run:
    return replace(small_run(**values), model=Own(build))


def net(*layers: nn.Module, inputs: int = 3 * SIZE * SIZE) -> nn.Sequential:
    """Layers on flat images, then logits."""
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(inputs, CLASSES))


def conv(norm: nn.Module) -> nn.Sequential:
    """A convolution to 4 channels, a layer behind it, and logits."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), norm, nn.ReLU(), *net(inputs=4 * SIZE * SIZE)
    )


class Rows(nn.Module):
    """An LSTM that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3 * SIZE, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 1, 3).flatten(2)
        logits: Tensor = self.head(self.lstm(x)[0][:, -1])
        return logits


class Changed(nn.Module):
    """A linear model whose logits a function changes."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIZE * SIZE, CLASSES)
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.linear(x.flatten(1)))


def pretrained() -> nn.Module:
    """In evaluation mode, with statistics of its own, as a hub hands it out."""
    model = conv(nn.BatchNorm2d(4))
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.0)
    return model.eval()


def shared() -> nn.Module:
    square = nn.Linear(192, 192)
    return net(square, nn.Tanh(), square)


def item() -> nn.Module:
    """Looks at numbers while it is built."""
    return net(nn.Linear(192, int(torch.tensor(192.0).item())))


def doubled() -> nn.Module:
    return net(nn.Linear(192, 192, dtype=torch.float64))


def half_frozen() -> nn.Module:
    model = net(nn.Linear(192, 192))
    model[1].bias.requires_grad_(False)
    return model


def tied() -> nn.Module:
    model = net(nn.Linear(192, 192), nn.Linear(192, 192))
    model[2].weight = model[1].weight
    return model


def same_memory() -> nn.Module:
    model = net(nn.Linear(192, 192), nn.Linear(192, 192))
    model[2].weight.data = model[1].weight.data
    return model


def unused() -> nn.Module:
    model = Changed(lambda y: y)
    model.extra = nn.Linear(2, 2)
    return model


class OnlyInTraining(nn.Module):
    """A lazy layer that evaluation passes by."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if self.training else x


class Stepping(Changed):
    """A linear model that does something to itself in a step."""

    def __init__(self, step: Callable[[Any], Any]) -> None:
        super().__init__(lambda y: y)
        self.step = step
        self.calls = 0
        self.register_buffer("seen", torch.zeros(3))
        self.teacher = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.step(self)
        return super().forward(x) + self.seen.sum()


def attribute(value: Any) -> nn.Module:
    model = Changed(lambda y: y)
    model.own = value
    return model


def buffer(value: Tensor) -> nn.Module:
    model = Changed(lambda y: y)
    model.register_buffer("own", value)
    return model


class Buffered(nn.Module):
    """Subtracts a running mean, which it replaces, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(192))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("mask", torch.arange(192).expand(1, -1) > 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return (x - self.mean) * self.mask


ACCEPTED: dict[str, Build] = {
    "LSTM": Rows,
    "GroupNorm": lambda: conv(nn.GroupNorm(2, 4)),
    "BatchNorm2d": lambda: conv(nn.BatchNorm2d(4)),
    "BatchNorm2d without statistics": lambda: conv(nn.BatchNorm2d(4, track_running_stats=False)),
    "BatchNorm2d without parameters": lambda: conv(nn.BatchNorm2d(4, affine=False)),
    "BatchNorm2d of all batches": lambda: conv(nn.BatchNorm2d(4, momentum=None)),
    "BatchNorm1d": lambda: net(nn.Linear(192, 192), nn.BatchNorm1d(192)),
    "SyncBatchNorm": lambda: conv(nn.SyncBatchNorm(4)),
    "InstanceNorm2d": lambda: conv(nn.InstanceNorm2d(4, track_running_stats=True)),
    "spectral_norm": lambda: net(spectral_norm(nn.Linear(192, 192))),
    "an old spectral_norm": lambda: net(nn.utils.spectral_norm(nn.Linear(192, 192))),
    "tied": tied,
    "frozen": half_frozen,
    "unused": unused,
    "own buffers": lambda: net(Buffered()),
    "pretrained": pretrained,
    "weight_norm": lambda: net(weight_norm(nn.Linear(192, 192))),
    "a module used twice": shared,
    "dropout of 0": lambda: net(nn.Dropout(0.0)),
    "more logits than classes": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 1000)),
    "a scalar": lambda: net(nn.PReLU()),
    "numbers while built": item,
    "resnet18": lambda: resnet18(num_classes=CLASSES),
}


def workers_of(run: Run, cache: Path) -> RowWorkers:
    communicator = Communicator(run.workers, "cpu", "fast")
    return build_workers(run, bound(run, cache), communicator, bf16=False)


def test_the_idle_take_the_buffers_of_the_others(cache: Path) -> None:
    """Numbers are averaged over those that took part; a count is that of the first of them."""
    run = run_of(ACCEPTED["own buffers"], workers=4)
    workers = workers_of(run, cache)
    for place, model in enumerate(workers.models):
        own = dict(model.named_buffers())
        own["1.mean"].fill_(place)
        own["1.calls"].fill_(place)
    consensus, _ = workers.consensus(None, [1, 3])
    found = dict(consensus.named_buffers())
    assert torch.equal(found["1.mean"], torch.full((192,), 2.0))
    assert found["1.calls"] == 1
    workers.pool_statistics([1, 3])
    kept = [dict(model.named_buffers()) for model in workers.models]
    assert [float(own["1.mean"][0]) for own in kept] == [2, 1, 2, 3]
    assert [int(own["1.calls"]) for own in kept] == [0, 1, 2, 3]


def refusal(run: Run) -> str:
    """Why the run's module cannot be trained; empty where it can."""
    try:
        build_module(run, bf16=False)
    except UserError as error:
        return str(error).removeprefix("model._target_=test_own_modules.Own: ")
    return ""


def plain_module(run: Run) -> nn.Module:
    """The module that all workers begin with, as torch itself lays it out and trains it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(Purpose.MODEL, run.seed).integers(1 << 31)))
        return run.model.build(SIZE, CLASSES).train()


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_is_accepted_is_trained_as_by_torch(kind: str, cache: Path) -> None:
    """Steps on the batches of worker 1: parameters, statistics, and the consensus after them."""
    run = run_of(ACCEPTED[kind], momentum=0.9, batch_size=16)
    workers = workers_of(run, cache)
    plain = plain_module(run)
    optimiser = torch.optim.SGD(
        plain.parameters(), run.lr, run.momentum, weight_decay=run.weight_decay
    )
    for step in range(1 if kind == "resnet18" else 3):  # rounding grows in a deep one
        images, labels = drawn(workers.task, 1, step)
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(plain(images), labels))
        optimiser.step()
        workers.compute_gradients()
        workers.optimizer_step(run.lr)
    ours = workers.models[1]
    for (name, own), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-3, msg=name)
        if theirs.grad is None:
            assert torch.equal(own, theirs)
    kept = dict(ours.named_buffers())
    for name, theirs in plain.named_buffers():
        if not name.endswith("num_batches_tracked") or name in kept:
            torch.testing.assert_close(kept[name], theirs, atol=1e-4, rtol=1e-3, msg=name)
    workers.average("average")
    consensus, drift = workers.consensus(None)
    assert drift == 0
    assert consensus(images).isfinite().all()
    assert torch.equal(row_of(consensus)[0], workers.x[0])


def test_statistics_and_mode_of_a_pretrained_module(cache: Path) -> None:
    """The first evaluation sees the statistics that the module came with; training moves them."""
    workers = workers_of(run_of(pretrained), cache)
    assert workers.s[0].tolist() == pytest.approx([0.3] * 4 + [2.0] * 4)
    workers.compute_gradients()
    assert workers.s[0, 0] != 0.3


def failing(error: BaseException) -> Callable[[Tensor], Tensor]:
    def fail(_: Tensor) -> Tensor:
        raise error

    return fail


def unbuildable() -> nn.Module:
    raise ValueError("no such\nthing")


DRAWS = "draws random numbers in evaluation, so that no two are the same; "
BUILD = "build(size=8, classes=10)"
LOGITS = "it must return logits (2, 10) for a batch of 2"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "SyncBatchNorm": (
        lambda: conv(type("Norm", (nn.SyncBatchNorm,), {})(4)),
        "1 (Norm) is a SyncBatchNorm that may send; use BatchNorm2d or the like",
    ),
    "one memory": (same_memory, "2 (Linear): weight lies in the memory of 1.weight, and they"),
    "lazy": (
        lambda: nn.Sequential(net(), OnlyInTraining()),
        "1.layer (LazyLinear): weight has no shape after a forward pass; give the layer the size",
    ),
    "float64": (doubled, "1 (Linear): weight is float64; it must be float32"),
    "complex": (
        lambda: net(nn.Linear(192, 192, dtype=torch.complex64)),
        "1 (Linear): weight is complex64; it must be float32",
    ),
    "meta": (
        lambda: net(nn.Linear(192, 192, device="meta")),
        "1 (Linear): weight is on the device meta; build it on the CPU, and it is moved",
    ),
    "no parameters": (lambda: nn.Flatten(), "the model (Flatten) has no parameters to train"),
    "all frozen": (
        lambda: net().requires_grad_(False),
        "the model (Sequential) has no parameters to train",
    ),
    "functional dropout": (
        lambda: nn.Sequential(nn.Sequential(Changed(nn.functional.dropout))),
        f"0.0 (Changed) {DRAWS}draw in training only, as nn.Dropout does",
    ),
    "NumPy": (lambda: Changed(lambda y: y * np.random.rand()), f"the model (Changed) {DRAWS}"),
    "Python": (lambda: Changed(lambda y: y * random.random()), f"the model (Changed) {DRAWS}"),
    "generator": (
        lambda: attribute(random.Random(1)),
        "the model (Changed): own is a generator of its own, which a resumed run would not have; ",
    ),
    "complex buffer": (
        lambda: buffer(torch.zeros(2, dtype=torch.complex128)),
        "the model (Changed): own is complex128, which checkpoints cannot hold",
    ),
    "sparse buffer": (
        lambda: buffer(torch.eye(2).to_sparse()),
        "the model (Changed): own is sparse_coo; it must be dense",
    ),
    "extra state": (
        lambda: nn.Sequential(net(), type("Extra", (nn.Identity,), {"get_extra_state": len})()),
        "1 (Extra) has extra state, which checkpoints cannot hold; keep it in buffers",
    ),
    "counter": (
        lambda: Stepping(lambda self: setattr(self, "calls", self.calls + 1)),
        "the model (Stepping): calls changes in a step, and is not resumed; keep it in a buffer",
    ),
    "a buffer that grows": (
        lambda: Stepping(lambda self: setattr(self, "seen", torch.cat([self.seen, self.seen]))),
        "the model (Stepping): seen is replaced in a step; register it as it stays, change it in",
    ),
    "weights replaced": (
        lambda: Stepping(lambda self: setattr(self.linear.weight, "data", self.linear.weight * 1)),
        "linear (Linear): weight is replaced in a step; register it as it stays, change it in",
    ),
    "a teacher": (
        lambda: Stepping(lambda self: self.teacher.data.add_(1)),
        "the model (Stepping) changes frozen parameters in a step; make them buffers",
    ),
    "a graph that is kept": (
        lambda: Stepping(lambda self: setattr(self, "seen", self.seen + self.linear.bias.exp()[0])),
        "a step on (2, 3, 8, 8), (2,) fails (RuntimeError: Trying to backward through the graph",
    ),
    "tuple": (
        lambda: Changed(lambda y: (y, y)),
        f"the model (Changed) returns a value of type tuple; {LOGITS}",
    ),
    "shape": (
        lambda: Changed(lambda y: y[:, :, None]),
        f"the model (Changed) returns (2, 10, 1); {LOGITS}",
    ),
    "images lost": (
        lambda: Changed(lambda y: y[:1]),
        f"the model (Changed) returns (1, 10); {LOGITS}",
    ),
    "classes": (
        lambda: Changed(lambda y: y[:, 1:]),
        f"the model (Changed) returns (2, 9); {LOGITS}",
    ),
    "not built": (unbuildable, f"{BUILD} fails (ValueError: no such)"),
    "exit": (lambda: exec("raise SystemExit(4)"), f"{BUILD} fails (SystemExit: 4)"),
    "no module": (dict, f"{BUILD} returns a value of type dict; it must return a torch.nn.Mo"),
    "wrong input": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, CLASSES)),
        "a step on (2, 3, 8, 8), (2,) fails (RuntimeError: mat1 and mat2 shapes cannot be",
    ),
    "an error": (
        lambda: Changed(failing(KeyError("a\nb"))),
        "a step on (2, 3, 8, 8), (2,) fails (KeyError: ",
    ),
    "no graph": (
        lambda: Changed(lambda y: y.detach()),
        "a step on (2, 3, 8, 8), (2,) fails (RuntimeError: element 0 of tensors does not require",
    ),
    "an old weight_norm": (
        lambda: net(torch.nn.utils.weight_norm(nn.Linear(192, 192))),
        "a step on (2, 3, 8, 8), (2,) fails (RuntimeError: Only Tensors created explicitly",
    ),
}


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:`torch.nn.utils.weight_norm`")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind: str) -> None:
    build, message = REFUSED[kind]
    run = run_of(build)
    found = refusal(run)
    assert found.startswith(message)
    assert "\n" not in found


def test_a_batch_of_one_image_is_tried_where_the_run_has_such() -> None:
    def globally() -> nn.Module:
        pool, norm = nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)
        return nn.Sequential(pool, norm, nn.Flatten(), nn.Linear(3, CLASSES))

    for fits in ({}, {"batch_size": 4, "accumulate": 2}):
        assert refusal(run_of(globally, **fits)) == ""
    for ones in ({"batch_size": 1}, {"batch_size": 4, "accumulate": 4}):
        found = refusal(run_of(globally, **ones))
        message = "a step on (1, 3, 8, 8), (1,) fails (ValueError: Expected more than"
        assert found.startswith(message)


def test_the_generators_are_left_alone() -> None:
    """Also by a build or a forward pass that seeds them, and where it fails."""

    def reseeding(y: Tensor) -> Tensor:
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        return y

    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for change in (reseeding, lambda y: failing(OSError())(reseeding(y))):
        refusal(run_of(lambda change=change: Changed(change)))
        after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]


def test_a_build_that_draws_from_any_generator_is_a_function_of_the_seed(cache: Path) -> None:
    def built() -> nn.Module:
        model = net()
        model[1].bias.data[0] = np.random.rand()
        model[1].bias.data[1] = random.random()
        return model

    def start(seed: int) -> Tensor:
        return workers_of(run_of(built, seed=seed), cache).x[0]

    assert torch.equal(start(0), start(0))
    assert not (start(0)[-CLASSES:] == start(1)[-CLASSES:]).any()


PLUGIN = """
from dataclasses import dataclass

from prsgd.models import Model


@dataclass
class Net(Model):
    dtype: str = "float64"

    @property
    def title(self):
        return "net"

    def build(self, size, classes):
        import torch
        from torch import nn
        width = int(torch.tensor(8.0).item())
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * size**2, width),
            nn.Dropout(0.5),
            nn.Linear(width, classes, dtype=getattr(torch, self.dtype)),
        )
"""
OWN = (
    *("--config-dir", "mine", "plugins=[mymodels]", "model=net", "device=cpu", "precision=fp32"),
    *("data=synthetic", "data.train=160", "data.size=8", "schedule=constant"),
    *("workers=2", "batch_size=4", "epochs=1", "interval=3"),
)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "mine/model").mkdir(parents=True)
    (tmp_path / "mymodels.py").write_text(PLUGIN)
    (tmp_path / "mine/model/net.yaml").write_text(
        "# A net\n_target_: mymodels.Net\ndtype: float64\n"
    )
    return tmp_path


LINE = "prsgd: model._target_=mymodels.Net: 3 (Linear): weight is float64; it must be float32\n"


@pytest.mark.dist
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    "command",
    [
        ["train"],
        ["train", "--dry-run"],
        ["train", "-m", "seed=0,1"],
        ["advise", "--calibrate"],
    ],
    ids=" ".join,
)
def test_no_command_starts_it(
    prsgd: Command, plugin: Path, command: list[str], processes: int
) -> None:
    refused = prsgd(*command, *OWN, f"processes={processes}")
    assert (refused.returncode, refused.stderr) == (2, LINE)
    assert refused.stdout == ""
    assert not (plugin / "runs").exists()


@pytest.mark.dist
@pytest.mark.parametrize("processes", [1, 2])
def test_every_command_takes_one_that_fits(prsgd: Command, plugin: Path, processes: int) -> None:
    """Its build looks at numbers, which there are none of on the device that only counts."""
    keys = (*OWN, f"processes={processes}", "model.dtype=float32")
    planned = prsgd("train", "--dry-run", *keys)
    assert planned.returncode == 0, planned.stderr
    bytes_a_round = 4 * (193 * 8 + 9 * 10)
    assert f"{7 * bytes_a_round / 1000:.1f} kB" in planned.stdout.replace("\n", "")
    advised = prsgd("advise", "--calibrate", *keys)
    assert advised.returncode == 0, advised.stderr
    done = prsgd("train", *keys)
    assert done.returncode == 0, done.stderr
    [folder] = (plugin / "runs").iterdir()
    assert len((folder / "rounds.csv").read_text().splitlines()) == 1 + 7


def test_a_process_that_dies_in_it_is_one_line(prsgd: Command, plugin: Path) -> None:
    text = PLUGIN.replace("import torch\n", "import os, torch\n        os._exit(9)\n", 1)
    (plugin / "mymodels.py").write_text(text)
    refused = prsgd("train", *OWN, "processes=2")
    assert refused.returncode == 2
    assert refused.stderr == (
        "prsgd: model._target_=mymodels.Net: the process that tried it ended with exit code 9\n"
    )
