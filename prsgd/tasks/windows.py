"""Language modelling on tokens in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.data.order import Order
from prsgd.data.partition import shards
from prsgd.data.transfer import on_device
from prsgd.rng import Purpose, generator
from prsgd.tasks.base import Bound, Drawing

CHUNK = 16  # windows in a sum; fixed, so that P does not change the sums
Batch = tuple[Tensor, Tensor]  # tokens (b, context), and those that follow them


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the model's logits (b, context, vocabulary), in nats."""
    tokens, following = batch
    return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten())


class Windows(Bound):
    """Windows of a run's text.

    A pass cuts the text into windows side by side, from an offset that is drawn for each pass, and
    goes through them in a random order. The borders of shards move with the offset.
    """

    def __init__(self, run: Drawing, context: int, tensors: Mapping[str, Tensor]) -> None:
        self.context = context
        self.train, self.test = tensors["train_tokens"], tensors["test_tokens"]
        self.metric = run.task.measures(run.data).main.name
        self.seed = run.seed
        self.evaluate_samples = run.evaluate_samples
        n = len(self.train) // context - 1
        files = np.searchsorted(tensors["starts"].cpu().numpy(), np.arange(n) * context, "right")
        carry = run.remainder == "carry"
        parts = shards(run.data.partition, files, run.workers, 0.0, run.seed, carry)
        self.order = Order(n, parts, run.workers, run.batch_size, run.seed, carry)

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Batch:
        starts = [self._starts(*one) for one in zip(workers, draws, strict=True)]
        tokens, following = self._windows(self.train, np.concatenate(starts))
        shape = len(workers), -1, self.context
        return tokens.reshape(shape), following.reshape(shape)

    def _starts(self, worker: int, draw: int) -> np.ndarray:
        indices, passes = self.order.passes(worker, draw)
        offsets = {
            number: generator(Purpose.OFFSET, self.seed, number).integers(self.context)
            for number in {*passes.tolist()}
        }
        return indices * self.context + [offsets[number] for number in passes.tolist()]

    def _windows(self, text: Tensor, starts: np.ndarray) -> Batch:
        """(w, context) tokens from each start on, and those that follow them."""
        [places] = on_device(text.device, starts[:, None] + np.arange(self.context + 1))
        tokens = text[places].long()
        return tokens[:, :-1], tokens[:, 1:]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, batch)

    def chunks(self, split: str) -> Sequence[Batch]:
        """Windows side by side, or a sample of them."""
        text = self.train if split == "train" else self.test
        n = (len(text) - 1) // self.context
        sample = generator(Purpose.EVALUATION).permutation(n)[: self.evaluate_samples]
        starts = np.sort(sample) * self.context
        parts = np.split(starts, range(CHUNK, len(starts), CHUNK))
        return [self._windows(text, part) for part in parts]

    def evaluate(self, model: nn.Module, chunk: Batch) -> Tensor:
        """(2,): the losses of all tokens, and how many they are."""
        tokens, following = chunk
        logits = model(tokens).float().flatten(0, 1)
        losses = F.cross_entropy(logits, following.flatten(), reduction="sum").double()
        return torch.stack([losses, torch.full_like(losses, following.numel())])

    def summary(self, sums: Tensor) -> dict[str, float]:
        losses, tokens = sums.tolist()
        return {"loss": losses / tokens, self.metric: losses / tokens / math.log(2)}
