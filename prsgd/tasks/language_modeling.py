"""Language modelling: the cross-entropy of the next token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import DataSet
from prsgd.errors import UserError
from prsgd.fields import whole
from prsgd.measures import Measures, Metric
from prsgd.tasks.base import Bound, Drawing, Nest, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass
class LanguageModeling(Task):
    """The next token of a text, from the `context` tokens before it. A sample is a window."""

    context: int = whole(128, 1)
    sample: ClassVar[str] = "windows"

    def measures(self, data: DataSet) -> Measures:
        token = getattr(data, "token", "token")
        bits = Metric(f"bits_per_{token}", f"bits per {token}", "", "lower")
        return Measures("tokens", (bits,))

    def samples(self, data: Any) -> int:
        """The windows of a pass, which begins anywhere in the first `context` tokens."""
        length: int = data.train_samples()
        tested: int = data.test_samples()
        n = length // self.context - 1
        if n < 1:
            raise UserError(
                f"task.context={self.context}: must be at most {length // 2}, half of the training "
                "text"
            )
        if tested <= self.context:
            raise UserError(
                f"task.context={self.context}: must be below {tested}, the length of the text to "
                "be tested on"
            )
        return n

    def units(self) -> int:
        return self.context

    def facts(self, data: DataSet) -> dict[str, Any]:
        return {**data.facts(), "context": self.context}

    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Bound:
        from prsgd.tasks.windows import Windows

        return Windows(run, self.context, tensors)

    def example(self, data: DataSet, b: int, device: torch.device) -> Nest:
        import torch

        tokens = torch.arange(b * self.context, device=device) % data.facts()["vocabulary"]
        return tokens.view(b, self.context), tokens.view(b, self.context)

    def chance(self, data: DataSet) -> float:
        return log(data.facts()["vocabulary"])

    def output(self, data: DataSet, b: int) -> tuple[int, ...]:
        return b, self.context, data.facts()["vocabulary"]

    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        from prsgd.tasks.windows import loss

        return loss(model, batch)
