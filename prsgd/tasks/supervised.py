"""What tasks on samples and targets share. Importing this is free."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.samples import SampleSet
from prsgd.errors import UserError
from prsgd.fields import text
from prsgd.models.digest import NONE, digest_of_object
from prsgd.tasks.base import Nest, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Criterion = Callable[..., Any]  # (answer, targets), both tensors, to the mean loss, a scalar
TARGETS = {  # by the task that they are for
    "classification": "classes (whole numbers, booleans or text)",
    "regression": "floats",
}


@dataclass
class Supervised(Task):
    """A task on a set of samples. Its loss is its own, or one that was handed over in Python."""

    criterion: str = text("auto", "auto, which is the task's own loss")
    digest: str = text(NONE, "8 digits of what a given loss consists of", kw_only=True)
    learns_from: ClassVar[type] = SampleSet
    name: ClassVar[str]  # as the choice of the group task
    given: ClassVar[Criterion | None] = None  # of an instance: what `criterion` names

    def give(self, criterion: Criterion) -> None:
        """Let a copy of this be the loss. A record has its name and a digest only.

        `UserError` where it has parameters to train: only the model's are trained.
        """
        parameters: Any = getattr(criterion, "parameters", list)()
        if any(own.requires_grad for own in parameters):
            raise UserError(
                "loss: has parameters of its own, which would not be trained; make them a part of "
                "the model"
            )
        self.criterion = getattr(criterion, "__name__", type(criterion).__name__)
        self.digest = digest_of_object(criterion)
        vars(self)["given"] = copy.deepcopy(criterion)

    @abstractmethod
    def standard(self) -> Criterion:
        """The task's own criterion."""

    def answer(self, output: Tensor, y: Tensor) -> Tensor:
        """A model's output for the targets y (b, ...), as the criterion takes it: float32."""
        return output.float()

    def mean_loss(self, answer: Tensor, y: Tensor) -> Tensor:
        """The mean loss of answers, a scalar. What a given loss holds follows them to a GPU."""
        from torch import nn

        criterion: Any = self.given or self.standard()
        if isinstance(criterion, nn.Module):
            criterion.to(answer.device)
        loss: Tensor = criterion(answer, y)
        return loss

    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        x, y = batch
        return self.mean_loss(self.answer(model(x), y), y)

    def samples(self, data: Any) -> int:
        """n. Refuses a set whose targets are for another task, and a loss that is not here."""
        if self.criterion != "auto" and self.given is None:
            raise UserError(
                f"task.criterion={self.criterion}: must be auto; a loss of your own is given in "
                f"Python, as in prsgd.train(..., loss={self.criterion})"
            )
        if (suits := data.suits()) != self.name:
            raise UserError(
                f"task={self.name}: the targets of {data.name()} are {TARGETS[suits]}; choose "
                f"task={suits}, or write them as {TARGETS[self.name]}"
            )
        n: int = data.train_samples()
        return n

    def example(self, data: Any, b: int, device: torch.device) -> Nest:
        import torch

        outline = data.outline()
        x = torch.rand(b, *outline.shape, device=device)
        y = torch.rand(b, *outline.target, device=device)
        return x.long() if outline.dtype == "int64" else x, y.long() if outline.classes else y
