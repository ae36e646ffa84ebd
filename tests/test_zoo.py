"""A zoo of modules of a user's own: each trains, evaluates, resumes and is saved as by torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, drawn, numbers, part, small_run, table
from safetensors.torch import load_file
from test_own_modules import (
    CLASSES,
    SIZE,
    Buffered,
    Own,
    Rows,
    conv,
    half_frozen,
    net,
    tied,
    workers_of,
)
from test_resume import stopping_at
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torchvision.models import resnet18
from torchvision.models.vision_transformer import VisionTransformer

from prsgd.config.schema import Run
from prsgd.data.cache import prepare
from prsgd.data.images import load_images
from prsgd.errors import UserError
from prsgd.models import Model
from prsgd.rng import Purpose, generator
from prsgd.run_folder import RunFolder
from prsgd.training.buffers import buffers
from prsgd.training.views import pooled
from prsgd.training.workers import RowWorkers

FLAT = 3 * SIZE * SIZE


class Volume(nn.Module):
    """A convolution over colours, rows and columns, and a BatchNorm3d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x[:, None])).relu()
        logits: Tensor = self.head(y.mean((2, 3, 4)))
        return logits


class Attention(nn.Module):
    """A transformer layer over the rows of an image, with a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * SIZE, 8)
        self.register_buffer("place", torch.arange(SIZE).expand(1, -1), persistent=False)
        self.places = nn.Embedding(SIZE, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x.permute(0, 2, 1, 3).flatten(2)) + self.places(self.place)
        logits: Tensor = self.head(self.layer(y).mean(1))
        return logits


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(CLASSES)
    )


def dropout() -> nn.Module:
    return net(nn.Linear(FLAT, 16), nn.ReLU(), nn.Dropout(0.5), inputs=16)


def chimera() -> nn.Module:
    """Statistics, buffers and draws of its own in one module."""
    own = (nn.SyncBatchNorm(FLAT, momentum=None), Buffered(), nn.Dropout(0.5))
    return net(nn.Linear(FLAT, FLAT), *own)


ZOO: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: net(nn.Linear(FLAT, 16), nn.BatchNorm1d(16, momentum=None), inputs=16),
    "BatchNorm3d": Volume,
    "SyncBatchNorm": lambda: conv(nn.SyncBatchNorm(4)),
    "no statistics": lambda: conv(nn.BatchNorm2d(4, track_running_stats=False)),
    "frozen": half_frozen,
    "tied": tied,
    "buffers": lambda: net(Buffered()),
    "spectral_norm": lambda: net(spectral_norm(nn.Linear(FLAT, FLAT))),
    "dropout": dropout,
    "lazy": lazy,
    "LSTM": Rows,
    "attention": Attention,
    "resnet18": lambda: resnet18(num_classes=CLASSES),
    "chimera": chimera,
    "vit": lambda: VisionTransformer(
        SIZE, 4, 2, 2, 16, 32, dropout=0.1, attention_dropout=0.1, num_classes=CLASSES
    ),
}


@dataclass
class Animal(Model):
    """A module of the zoo."""

    kind: str = ""

    @property
    def title(self) -> str:
        return self.kind

    def build(self, size: int, classes: int) -> nn.Module:
        return ZOO[self.kind]()


DRAWING = ("dropout", "attention", "chimera", "vit")
PLAIN = [name for name in ZOO if name not in (*DRAWING, "resnet18")]


def animal(name: str, **values: Any) -> Run:
    keys = {
        "workers": 3,
        "epochs": 0.5,
        "algorithm": part("prsgd", interval=2),
        "lr": 0.02,
        "batch_size": 4,
        **values,
    }
    return replace(small_run(**keys), model=Animal(name))


def module_of(run: Run) -> nn.Module:
    """The module that all workers begin with, as torch itself builds it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(generator(Purpose.MODEL, run.seed).integers(1 << 31)))
        module = run.model.build(SIZE, CLASSES).eval()
        module(torch.zeros(2, 3, SIZE, SIZE))  # lazy layers get their shapes
    return module.train()


def start(name: str, cache: Path, **values: Any) -> RowWorkers:
    return workers_of(animal(name, **values), cache)


def step(workers: RowWorkers, lr: float = 0.02) -> None:
    workers.compute_gradients()
    workers.optimizer_step(lr)


def state_of(folder: RunFolder) -> dict[str, Tensor]:
    """All that the newest checkpoint holds."""
    newest = max(folder.checkpoints.iterdir())
    return load_file(newest / "part-0.safetensors")


@pytest.mark.parametrize("name", ZOO)
def test_it_trains_is_saved_and_goes_on_bitwise(
    name: str, train_here: Callable, cache: Path
) -> None:
    """The saved weights, in the user's own module, evaluate as the run did."""
    run = animal(name, **({"workers": 2, "epochs": 0.3} if name == "resnet18" else {}))
    assert train_here(run, "whole")[0] == "done"
    assert train_here(run, "stopped", stopping_at(1))[0] == "interrupted"
    status, folder = train_here(run, "stopped")
    assert status == "done"
    whole = RunFolder(folder.path.with_name("whole"))
    for file in ("metrics.csv", "rounds.csv"):
        assert table(folder, file).equals(table(whole, file))
    ours, theirs = state_of(folder), state_of(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    module = module_of(run)
    saved = load_file(folder.path / "model.safetensors")
    module.load_state_dict(saved)
    path = prepare(run.data, cache, lambda items, n: iter(items))
    images = load_images(path, torch.device("cpu"))
    with torch.inference_mode():
        logits = module.eval()(images.normalised(images.test_images))
    last = numbers(folder).iloc[-1]
    loss = float(F.cross_entropy(logits, images.test_labels))
    if "mask" not in saved:  # what is not persistent is not saved
        assert last["test_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_the_consensus_is_the_users_module_with_the_saved_state(name: str, cache: Path) -> None:
    workers = start(name, cache)
    for _ in range(3):
        step(workers)
    consensus, _ = workers.consensus(None)
    module = module_of(animal(name))
    module.load_state_dict(dict(consensus.state_dict()))
    images, _ = drawn(workers.task, 0, 9)
    with torch.inference_mode():
        torch.testing.assert_close(consensus(images), module.eval()(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("name", PLAIN)
def test_one_step_is_torchs(name: str, optimiser: str, cache: Path) -> None:
    """Of every worker, and what gets no gradient stays bitwise where it was."""
    run = animal(name, optimiser=optimiser, batch_size=8)
    workers = workers_of(run, cache)
    step(workers)
    for worker, ours in enumerate(workers.models):
        plain = module_of(run)
        images, labels = drawn(workers.task, worker, 0)
        made: torch.optim.Optimizer
        if optimiser == "sgd":
            made = torch.optim.SGD(plain.parameters(), 0.02, weight_decay=run.weight_decay)
        else:
            made = torch.optim.AdamW(plain.parameters(), 0.02, weight_decay=run.weight_decay)
        torch.autograd.backward(F.cross_entropy(plain(images), labels))
        made.step()
        atol = 1e-6 if optimiser == "sgd" else 2e-3  # AdamW's first step is the gradient's sign
        for key, value in plain.named_parameters():
            own = ours.get_parameter(key)
            torch.testing.assert_close(own, value, rtol=1e-5, atol=atol, msg=key)
            if value.grad is None:
                assert torch.equal(own, value)
        kept = dict(ours.named_buffers())
        for key, value in plain.named_buffers():
            if key in kept:
                torch.testing.assert_close(kept[key], value, rtol=1e-5, atol=1e-6, msg=key)


def test_tied_parameters_are_one_part_of_a_row(cache: Path) -> None:
    workers = start("tied", cache)
    assert (
        workers.x.shape[1] == FLAT * FLAT + 2 * FLAT + 11 * CLASSES + FLAT * CLASSES - CLASSES * 10
    )
    step(workers)
    for model in workers.models:
        assert model[1].weight is model[2].weight


def test_frozen_parameters_are_no_part_of_a_row(cache: Path) -> None:
    """They lie in the same memory for all workers, and stay bitwise as they are."""
    workers = start("frozen", cache)
    before = workers.models[0][1].bias.clone()
    step(workers)
    workers.average("average")
    consensus, _ = workers.consensus(None)
    places = {model[1].bias.data_ptr() for model in [*workers.models, consensus]}
    assert len(places) == 1
    assert torch.equal(consensus[1].bias, before)
    assert workers.x.shape[1] == FLAT * FLAT + FLAT * CLASSES + CLASSES


def test_the_consensus_of_batch_norms_is_pooled(cache: Path) -> None:
    workers = start("BatchNorm1d", cache)
    for _ in range(3):
        step(workers)
    consensus, _ = workers.consensus(None)
    means = np.stack([m[2].running_mean.double().numpy() for m in workers.models])
    variances = np.stack([m[2].running_var.double().numpy() for m in workers.models])
    assert np.ptp(means, 0).max() > 1e-3
    np.testing.assert_allclose(consensus[2].running_mean, means.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        consensus[2].running_var, variances.mean(0) + means.var(0), rtol=1e-6
    )
    assert consensus[2].num_batches_tracked == 3
    assert torch.equal(pooled(workers.s.double()).float()[:16], consensus[2].running_mean)


def test_the_consensus_of_other_buffers(cache: Path) -> None:
    """The mean of floating-point numbers; worker 0's of all others and of spectral vectors."""
    workers = start("buffers", cache)
    own = [model[1] for model in workers.models]
    for worker, layer in enumerate(own):
        layer.mean = torch.full((FLAT,), 0.1 * worker)
        layer.calls += worker + (1 << 60)
    consensus, _ = workers.consensus(None)
    expected = np.mean([layer.mean.double().numpy() for layer in own], 0).astype(np.float32)
    assert np.array_equal(consensus[1].mean, expected)
    assert int(consensus[1].calls) == 1 << 60
    assert consensus[1].mask.sum() == FLAT - 4

    for build in (spectral_norm, nn.utils.spectral_norm):
        run = replace(animal("tied"), model=Own(lambda b=build: net(b(nn.Linear(FLAT, FLAT)))))
        workers = workers_of(run, cache)
        for _ in range(2):
            step(workers)
        consensus, _ = workers.consensus(None)
        kept = buffers(workers.models[0])
        assert len(kept) == 2
        for key, value in buffers(consensus).items():
            assert torch.equal(value, kept[key])
            assert not torch.equal(value, buffers(workers.models[1])[key])


def masks(workers: RowWorkers) -> dict[tuple[int, int], Tensor]:
    """What the dropout of each worker lets through in its draws 0 to 2."""
    found: dict[tuple[int, int], Tensor] = {}

    def keep(worker: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            row = worker - workers.communicator.local_workers.start
            found[worker, int(workers.draws[row])] = output != 0

        return hook

    for worker, model in zip(workers.communicator.local_workers, workers.models, strict=True):
        model[2] = nn.Identity()
        model[3].register_forward_hook(keep(worker))
    for _ in range(3):
        step(workers)
    return found


def test_dropout_is_a_function_of_seed_worker_and_draw(cache: Path) -> None:
    """And the generators of whoever calls are left alone."""
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = masks(start("dropout", cache))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(2)
    again, other = masks(start("dropout", cache, workers=2)), masks(start("dropout", cache, seed=1))
    assert len(first) == 9
    assert all(torch.equal(mask, first[key]) for key, mask in again.items())
    assert len({mask.numpy().tobytes() for mask in first.values()}) == 9
    assert not any(torch.equal(mask, first[key]) for key, mask in other.items())


class Sometimes(nn.Module):
    """Uses a layer from its fourth batch on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.late = nn.Linear(FLAT, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.first(x.flatten(1))
        return y if self.calls < 6 else self.late(y)


def test_a_parameter_that_is_used_later_ends_the_run_in_a_line(cache: Path) -> None:
    workers = workers_of(replace(animal("tied"), model=Own(Sometimes)), cache)
    assert workers.x.shape[1] == (FLAT + 1) * CLASSES
    for _ in range(5):
        step(workers)
    with pytest.raises(UserError, match=r"^late.\w+ got no gradient when the module was tried"):
        step(workers)


class Skipping(nn.Module):
    """Leaves a layer out at random."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped, self.head = nn.Linear(FLAT, FLAT), nn.Linear(FLAT, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if not self.training or np.random.rand() < 0.5:
            x = self.skipped(x)
        logits: Tensor = self.head(x)
        return logits


def test_a_layer_that_is_left_out_at_random_is_found(cache: Path) -> None:
    for seed in range(6):
        run = replace(animal("tied", seed=seed), model=Own(Skipping))
        assert workers_of(run, cache).x.shape[1] == FLAT * FLAT + FLAT + (FLAT + 1) * CLASSES


@pytest.mark.dist
def test_processes_do_not_matter(train_here: Callable, prsgd: Command) -> None:
    """A run that one process began and two went on with is bitwise that of one process."""
    run = animal("chimera", reduction="exact", processes=2, device="cpu", plugins=["test_zoo"])
    _, whole = train_here(run, "whole")
    status, folder = train_here(run, "stopped", stopping_at(3))
    assert status == "interrupted"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = prsgd("run", str(folder.path), "plugins=[test_zoo]", env=environment)
    assert done.returncode == 0, done.stderr
    assert (folder.path / "checkpoint").exists()
    for file in ("metrics.csv", "rounds.csv"):
        assert table(folder, file).equals(table(whole, file))
    saved = [(f.path / "model.safetensors").read_bytes() for f in (folder, whole)]
    assert saved[0] == saved[1]
    newest = max(folder.checkpoints.iterdir())
    ours = {k: v for part in newest.glob("part-*") for k, v in load_file(part).items()}
    theirs = state_of(whole)
    assert len(list(newest.glob("part-*"))) == 2
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
