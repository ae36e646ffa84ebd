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

        is_tensor = isinstance(output, Tensor)
        is_one = len(y) == 1  # whose axis a model may have squeezed
        if is_tensor and output.numel() == y.numel() and (is_one or len(output) == len(y)):
            return output.float().reshape(y.shape)
        found = tuple(output.shape) if is_tensor else f"a value of type {type(output).__name__}"
        hint = " (targets that are classes must be whole numbers)" * (y.dim() == 1)
        raise UserError(
            f"model: returns {found} for targets {tuple(y.shape)}; it must return as many numbers "
            f"for each sample{hint}"
        )
