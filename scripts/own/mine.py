"""A model, a set, a task and a schedule of one's own, each as short as it can be.

Beside each class stands a file under conf/, which names it and its keys. In this folder:

    prsgd train --config-dir conf 'plugins=[mine]' \\
        model=two_layers data=waves task=denoising schedule=root
    prsgd figures

Each goes with the others of prsgd too: `data=waves task=classification`, for example, or
`data=npz data.root=FILE task=denoising`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.data.base import DataSet
from prsgd.data.samples import Outline, Samples, SampleSet
from prsgd.fields import positive, whole
from prsgd.measures import Measures, Metric
from prsgd.models import Model
from prsgd.rng import Purpose, generator
from prsgd.schedule import Schedule
from prsgd.tasks.base import Drawing, Task
from prsgd.tasks.samples import Batch, Pairs, scaled

# --- a model ---


class TwoLayers(nn.Module):
    """Any torch module."""

    def __init__(self, features: int, width: int, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, width)
        self.outer = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.outer(torch.tanh(self.inner(x.flatten(1))))
        return found


@dataclass
class TwoLayersModel(Model):
    """What builds it. The names of `build`'s parameters say what it asks the task for."""

    width: int = whole(32, 1)

    @property
    def title(self) -> str:
        return f"two layers of {self.width}"

    def build(self, features: int, outputs: int) -> nn.Module:
        return TwoLayers(features, self.width, outputs)


# --- a set ---

POINTS, TESTED = 32, 300


@dataclass
class Waves(SampleSet):
    """Sines, square waves and saw teeth of 32 points, each from a random phase on."""

    train: int = whole(1500, 1)

    @property
    def title(self) -> str:
        return "waves"

    def content(self) -> str:
        return f"1 {self.train}"  # with another number where `samples` makes other waves

    def outline(self) -> Outline:
        return Outline(self.train, TESTED, (POINTS,), "float32", (), classes=3)

    def samples(self) -> Samples:
        n = self.train + TESTED
        phases = np.random.default_rng(0).random((n, 1))
        turns = (np.arange(POINTS) / POINTS + phases) % 1
        sines = np.sin(2 * np.pi * turns)
        kinds = np.arange(n) % 3
        waves = np.choose(kinds[:, None], [sines, np.sign(sines), 2 * turns - 1])
        x, k = waves.astype(np.float32), self.train
        return Samples(x[:k], kinds[:k], x[k:], kinds[k:])


# --- a task ---


@dataclass
class Denoising(Task):
    """A sample is to be restored from the same with noise. Targets are not looked at."""

    noise: float = positive(0.5)
    learns_from: ClassVar[type] = SampleSet

    def measures(self, data: DataSet) -> Measures:
        return Measures("samples", (Metric("removed", "noise removed", "%", "higher"),))

    def facts(self, data: DataSet) -> dict[str, Any]:
        facts = data.facts()
        return {**facts, "outputs": facts["features"]}

    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Noisy:
        return Noisy(run, tensors, self)

    def example(self, data: DataSet, b: int, device: torch.device) -> Batch:
        clean = torch.rand(b, *data.facts()["shape"], device=device)
        return clean, clean

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        noisy, clean = batch
        return F.mse_loss(model(noisy), clean.flatten(1))


class Noisy(Pairs):
    """Batches of (noisy, clean), and the sums that tell how much of the noise is removed."""

    def __init__(self, run: Drawing, tensors: Mapping[str, Tensor], task: Denoising) -> None:
        super().__init__(run, tensors)
        self.task, self.seed = task, run.seed

    def noise(self, like: Tensor, *where: int) -> Tensor:
        """Noise that is a function of where it is used, so that a run may stop anywhere."""
        numbers = generator(Purpose.AUGMENTATION, *where).normal(0, self.task.noise, like.shape)
        return torch.from_numpy(numbers).to(like)

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Batch:
        clean, _ = super().batch(workers, draws)
        places = zip(clean, workers, draws, strict=True)
        noise = [self.noise(x, self.seed, worker, draw) for x, worker, draw in places]
        return clean + torch.stack(noise), clean

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.task.loss(model, batch)

    def evaluate(self, model: nn.Module, chunk: Batch) -> Tensor:
        """(3,): squared errors, squared noise, and how many numbers there are."""
        clean = scaled(chunk[0])
        noise = self.noise(clean)
        errors = model(clean + noise) - clean.flatten(1)
        squares = [t.double().square().sum() for t in (errors, noise)]
        return torch.stack([*squares, torch.full_like(squares[0], clean.numel())])

    def summary(self, sums: Tensor) -> dict[str, float]:
        errors, noise, numbers = sums.tolist()
        return {"loss": errors / numbers, "removed": 1 - errors / noise}


# --- a schedule ---


@dataclass
class Root(Schedule):
    """The rate falls with the root of the progress."""

    fall: float = positive(10.0)

    def decay(self, progress: float) -> float:
        return 1 / math.sqrt(1 + self.fall * progress)
