"""Classification of samples of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import DataSet
from prsgd.measures import Measures, Metric
from prsgd.tasks.base import Bound, Drawing
from prsgd.tasks.supervised import Criterion, Supervised

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Classification(Supervised):
    """Samples to one of C classes. Cross-entropy, unless another loss is given."""

    name: ClassVar[str] = "classification"

    def measures(self, data: DataSet) -> Measures:
        return Measures("samples", (Metric("accuracy", "accuracy", "%", "higher"),))

    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Bound:
        from prsgd.tasks.samples import ClassSamples

        return ClassSamples(run, tensors, self)

    def chance(self, data: DataSet) -> float | None:
        return log(data.facts()["classes"]) if self.criterion == "auto" else None

    def output(self, data: DataSet, b: int) -> tuple[int, ...]:
        return b, data.facts()["classes"]

    def standard(self) -> Criterion:
        from torch.nn.functional import cross_entropy

        return cross_entropy
