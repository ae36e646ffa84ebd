"""Samples and targets in memory: their batches, and the sums that the consensus is judged by."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prsgd.data.order import Order
from prsgd.data.partition import shards
from prsgd.data.transfer import on_device
from prsgd.tasks.base import Bound, Drawing
from prsgd.tasks.chunks import chunks
from prsgd.tasks.supervised import Supervised

Batch = tuple[Tensor, Tensor]  # samples (b, ...), and their targets (b, ...)
ROUNDING = 1e-12  # of sums of squares in float64, generously


class Pairs(Bound):
    """Batches of a run's samples `train_x` and targets `train_y`, and chunks of both splits."""

    def __init__(self, run: Drawing, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.evaluate_samples = run.evaluate_samples
        data, carry = run.data, run.remainder == "carry"
        labels = tensors["train_y"].cpu().numpy()
        parts = shards(data.partition, labels, run.workers, data.alpha, run.seed, carry)
        self.order = Order(len(labels), parts, run.workers, run.batch_size, run.seed, carry)

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Batch:
        drawn = [self.order.indices(*one) for one in zip(workers, draws, strict=True)]
        x, y = self.tensors["train_x"], self.tensors["train_y"]
        [index] = on_device(x.device, np.stack(drawn))
        return scaled(x[index]), y[index]

    def chunks(self, split: str) -> Sequence[Batch]:
        """250 samples and their targets, the last chunk excepted."""
        x, y = self.tensors[f"{split}_x"], self.tensors[f"{split}_y"]
        return chunks(x, y, self.evaluate_samples)


def scaled(x: Tensor) -> Tensor:
    """uint8 samples as float32 in [0, 1]; others as they are."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


class Supervision(Pairs):
    """What a task on targets evaluates: its mean loss, and scores of its own."""

    def __init__(self, run: Drawing, tensors: Mapping[str, Tensor], task: Supervised) -> None:
        super().__init__(run, tensors)
        self.task = task

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.task.loss(model, batch)

    def evaluate(self, model: nn.Module, chunk: Batch) -> Tensor:
        """(2 + scores,): the losses, how many samples there are, and the scores."""
        x, y = chunk
        answer = self.task.answer(model(scaled(x)), y)
        losses = self.task.mean_loss(answer, y).double() * len(y)
        return torch.cat(
            [losses[None], torch.full_like(losses, len(y))[None], self.scores(answer, y)]
        )

    @abstractmethod
    def scores(self, answer: Tensor, y: Tensor) -> Tensor:
        """Sums that the metric needs, (s,) float64."""


class ClassSamples(Supervision):
    """Samples in classes."""

    def scores(self, answer: Tensor, y: Tensor) -> Tensor:
        """(1,): the samples whose class is named."""
        return (answer.argmax(1) == y).sum().double()[None]

    def summary(self, sums: Tensor) -> dict[str, float]:
        losses, samples, named = sums.tolist()
        return {"loss": losses / samples, "accuracy": named / samples}


class FloatSamples(Supervision):
    """Samples with floats to predict."""

    def __init__(self, run: Drawing, tensors: Mapping[str, Tensor], task: Supervised) -> None:
        super().__init__(run, tensors, task)
        self.centre = tensors["train_y"].double().mean(0)  # so that sums of squares do not cancel

    def scores(self, answer: Tensor, y: Tensor) -> Tensor:
        """(2 + k,): squared errors, squared centred targets, and the k centred targets."""
        errors, centred = answer.double() - y.double(), y.double() - self.centre
        squares = torch.stack([errors.square().sum(), centred.square().sum()])
        return torch.cat([squares, centred.reshape(len(y), -1).sum(0)])

    def summary(self, sums: Tensor) -> dict[str, float]:
        """R² is 1 - SSE / SST over all numbers of the targets, each about its own mean.

        Where the targets are constant it is 1 if all are predicted and 0 if not, as in
        scikit-learn.
        """
        losses, samples, errors, squares = sums[:4].tolist()
        total = squares - float(sums[4:].square().sum()) / samples
        r2 = 1 - errors / total if total > ROUNDING * squares else float(errors == 0)
        return {"loss": losses / samples, "r2": r2}
