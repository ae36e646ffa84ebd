"""Regression: floats are predicted from samples of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import DataSet
from prsgd.errors import UserError
from prsgd.measures import Measures, Metric
from prsgd.tasks.base import Bound, Drawing
from prsgd.tasks.supervised import Criterion, Supervised

if TYPE_CHECKING:
    from torch import Tensor

PARTITIONS = ("shared", "iid", "contiguous")  # those that need no classes


@dataclass
class Regression(Supervised):
    """Samples to one float or several. Mean squared error, unless another loss is given."""

    name: ClassVar[str] = "regression"

    def measures(self, data: DataSet) -> Measures:
        return Measures("samples", (Metric("r2", "R²", "", "higher"),))

    def samples(self, data: DataSet) -> int:
        n = super().samples(data)
        if data.partition not in PARTITIONS:
            raise UserError(
                f"data.partition={data.partition}: must be one of {', '.join(PARTITIONS)} with "
                "task=regression, which has no classes"
            )
        return n

    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Bound:
        from prsgd.tasks.samples import FloatSamples

        return FloatSamples(run, tensors, self)

    def standard(self) -> Criterion:
        from torch.nn.functional import mse_loss

        return mse_loss

    def answer(self, output: Tensor, y: Tensor) -> Tensor:
        """The output in the targets' shape; `UserError` where it has other numbers for a sample."""
        from torch import Tensor

        must = f"for targets {tuple(y.shape)}; it must return as many numbers for each sample"
        if not isinstance(output, Tensor):
            raise UserError(f"model: returns a value of type {type(output).__name__} {must}")
        is_whole = len(y) == 1 or output.shape[:1] == y.shape[:1]  # one sample may be squeezed
        if output.numel() != y.numel() or not is_whole:
            hint = " (targets that are classes must be whole numbers)" * (y.dim() == 1)
            raise UserError(f"model: returns {tuple(output.shape)} {must}{hint}")
        return output.float().reshape(y.shape)
