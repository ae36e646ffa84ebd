"""What an algorithm is: a dataclass whose fields are its keys. It sees no model and no device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prsgd.algorithms.info import Array, RunInfo
from prsgd.algorithms.interface import Workers


@dataclass
class Algorithm(ABC):
    """One parallel method. `step` is called for t = 1..T with G_i^t computed at x_i^{t-1}."""

    name: ClassVar[str]  # as in algorithm=NAME and in the run folder's name
    title: ClassVar[str]  # in figures and tables; a class of one's own goes by its path there
    owns_lr: ClassVar[bool] = False  # whether it sets the learning rate and reads no schedule
    has_reference: ClassVar[bool] = True  # whether all know what each part is a difference from
    restarts: ClassVar[bool] = True  # whether a round leaves all at one point
    needs_plain_sgd: ClassVar[bool] = False  # whether its rule holds for SGD without momentum only

    def check(self, workers: int) -> str:
        """Why its keys do not fit N = `workers`; empty if they do."""
        return ""

    def warning(self, info: RunInfo) -> str:
        """What a user should know before this run starts; empty for nothing."""
        return ""

    def active(self, t: int, info: RunInfo) -> Sequence[int] | None:
        """The workers that compute in step t; None for all of them."""
        return None

    def among(self, workers: Workers) -> Sequence[int] | None:
        """The workers whose mean this step's round takes; None for all of them."""
        return None

    def batches_drawn(self, t: int, workers: int) -> int:
        """The batches that all `workers` together have drawn in the steps 1..t."""
        return workers * t

    def lr(self, t: int, planned: float) -> float:
        """The learning rate of step t, for which the schedule gives `planned`."""
        return planned

    def begin(self, info: RunInfo, workers: Workers) -> None:  # noqa: B027
        """Set up its state at x^0. On resuming, the checkpoint then replaces that state."""

    @abstractmethod
    def step(self, t: int, lr: float, workers: Workers) -> None:
        """Everything that happens in step t, with learning rate `lr`."""

    @abstractmethod
    def finish(self, t: int, lr: float, workers: Workers) -> None:
        """What is left to do after the last step, t = T."""

    def eval_params(self, workers: Workers) -> Array | None:
        """The parameters (D,) of the model to evaluate and to save; None for x̄."""
        return None
