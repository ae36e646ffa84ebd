"""Image classification on a set in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.data.batches import Batches
from prsgd.data.images import Images
from prsgd.data.order import Order
from prsgd.data.partition import shards
from prsgd.tasks.base import Bound, Drawing
from prsgd.tasks.chunks import chunks

Batch = tuple[Tensor, Tensor]  # images (b, 3, h, w), labels (b,)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the model's logits."""
    images, labels = batch
    return F.cross_entropy(model(images), labels)


class LabelledImages(Bound):
    """Batches of a run's images, and the sums that its consensus is judged by."""

    def __init__(self, run: Drawing, images: Images) -> None:
        self.images = images
        data, carry = run.data, run.remainder == "carry"
        labels = images.train_labels.cpu().numpy()
        parts = shards(data.partition, labels, run.workers, data.alpha, run.seed, carry)
        order = Order(len(labels), parts, run.workers, run.batch_size, run.seed, carry)
        self.batches = Batches(images, order, data.crop, data.flip)
        self.evaluate_samples = run.evaluate_samples

    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Batch:
        return self.batches.draws(workers, draws)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, batch)

    def chunks(self, split: str) -> Sequence[Batch]:
        """(250, h, w, 3) uint8 images and their labels, the last chunk excepted."""
        images = getattr(self.images, f"{split}_images")
        labels = getattr(self.images, f"{split}_labels")
        return chunks(images, labels, self.evaluate_samples)

    def evaluate(self, model: nn.Module, chunk: Batch) -> Tensor:
        """(3,): the losses, the images whose class is named, and all images."""
        images, labels = chunk
        logits = model(self.images.normalised(images)).float()
        losses = F.cross_entropy(logits, labels, reduction="sum").double()
        named = (logits.argmax(1) == labels).sum().double()
        return torch.stack([losses, named, torch.full_like(losses, len(labels))])

    def summary(self, sums: Tensor) -> dict[str, float]:
        losses, named, images = sums.tolist()
        return {"loss": losses / images, "accuracy": named / images}
