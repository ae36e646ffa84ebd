"""Image classification: cross-entropy, and the share of images whose class is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import DataSet
from prsgd.measures import OF_IMAGES, Measures
from prsgd.tasks.base import Bound, Drawing, Nest, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass
class ImageClassification(Task):
    """Images to one of C classes."""

    sample: ClassVar[str] = "images"

    def measures(self, data: DataSet) -> Measures:
        return OF_IMAGES

    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Bound:
        from prsgd.data.images import Images
        from prsgd.tasks.labelled_images import LabelledImages

        return LabelledImages(run, Images.of(tensors, facts))

    def example(self, data: DataSet, b: int, device: torch.device) -> Nest:
        import torch

        size = data.facts()["size"]
        images = torch.rand(b, size, size, 3, device=device).permute(0, 3, 1, 2)
        return images, torch.zeros(b, dtype=torch.long, device=device)

    def chance(self, data: DataSet) -> float:
        return log(data.facts()["classes"])

    def output(self, data: DataSet, b: int) -> tuple[int, ...]:
        return b, data.facts()["classes"]

    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        from prsgd.tasks.labelled_images import loss

        return loss(model, batch)
