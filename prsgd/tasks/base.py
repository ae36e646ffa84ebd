"""What a task is: the keys that the group `task` chooses, and what is bound to data for training.

Importing this is free. Nothing else in prsgd knows what a batch is made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from prsgd.data.base import DataSet
from prsgd.measures import Measures

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Nest = Any
"""A tensor, or a list, tuple or mapping of nests."""


class Drawing(Protocol):
    """What a task is told of the run whose batches it makes."""

    workers: int
    batch_size: int
    remainder: str
    seed: int
    evaluate_samples: int
    data: Any
    task: Any


@dataclass
class Task(ABC):
    """A kind of learning, before any data are read."""

    sample: ClassVar[str] = "samples"  # what a batch consists of
    learns_from: ClassVar[type] = DataSet  # the kind of set that it needs

    @abstractmethod
    def measures(self, data: DataSet) -> Measures:
        """What is measured on such data, and what progress is counted in."""

    def samples(self, data: DataSet) -> int:
        """What is drawn for batches, counted: n. An epoch draws as many."""
        return data.train_samples()

    def units(self) -> int:
        """How many of the unit of progress are in a sample."""
        return 1

    def facts(self, data: DataSet) -> dict[str, Any]:
        """What a model's `build` may ask for, by name."""
        return data.facts()

    @abstractmethod
    def bind(self, run: Drawing, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Bound:
        """The task on the run's data, which are on the device that trains."""

    @abstractmethod
    def example(self, data: DataSet, b: int, device: torch.device) -> Nest:
        """A batch of b samples like those of `data`, made up, as measuring the time needs it."""

    def chance(self, data: DataSet) -> float | None:
        """The mean loss of a uniform guess; None where there is none to compare with."""
        return None

    def output(self, data: DataSet, b: int) -> tuple[int, ...] | None:
        """The shape of what a model must make of a batch of b samples; None: that is its own."""
        return None

    @abstractmethod
    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        """The mean loss of a worker's batch, a scalar."""


class Draws(ABC):
    """What rows train on."""

    @abstractmethod
    def batch(self, workers: Sequence[int], draws: Sequence[int]) -> Nest:
        """The batches of these draws of these workers: tensors whose first axis is the worker.

        A pure function of (seed, worker, draw).
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Nest) -> Tensor:
        """The mean loss of a worker's batch, a scalar."""


class Bound(Draws):
    """A task on a run's data."""

    @abstractmethod
    def chunks(self, split: str) -> Sequence[Nest]:
        """What the consensus is evaluated on: of "train" a fixed sample, of "test" the same."""

    @abstractmethod
    def evaluate(self, model: nn.Module, chunk: Nest) -> Tensor:
        """Sums over a chunk (S,), float64. They are added over chunks in their order."""

    @abstractmethod
    def summary(self, sums: Tensor) -> dict[str, float]:
        """`loss`, and a value of each metric, from the sums (S,) over all chunks."""


def leaves(nest: Nest) -> list[Tensor]:
    """The tensors of a nest, in their order."""
    found: list[Tensor] = []
    _mapped(nest, found.append)
    return found


def shapes(nest: Nest) -> str:
    """The shapes of a nest's tensors, for people."""
    return ", ".join(str(tuple(tensor.shape)) for tensor in leaves(nest))


def blank(nest: Nest, rows: int) -> Nest:
    """Zeros of the same kinds, with so many rows."""
    return _mapped(nest, lambda tensor: tensor.new_zeros(rows, *tensor.shape[1:]))


def row_of_nest(nest: Nest, row: int) -> Nest:
    """The row of every tensor of a nest."""
    return _mapped(nest, lambda tensor: tensor[row])


def stacked(nest: Nest, rows: int) -> Nest:
    """The same nest for each of the rows."""
    return _mapped(nest, lambda tensor: tensor.expand(rows, *tensor.shape))


def parts_of_nest(nest: Nest, count: int) -> Iterator[Nest]:
    """A batch in `count` equal parts, one after another."""
    if count == 1:
        yield nest
        return
    for part in range(count):
        yield _mapped(nest, lambda tensor, part=part: tensor.chunk(count)[part])


def _mapped(nest: Nest, function: Callable[..., Any]) -> Nest:
    """What a function makes of every tensor of a nest, nested alike."""
    if isinstance(nest, Mapping):
        return {name: _mapped(inner, function) for name, inner in nest.items()}
    if isinstance(nest, tuple | list):
        inner = [_mapped(own, function) for own in nest]
        return type(nest)(*inner) if hasattr(nest, "_fields") else type(nest)(inner)
    return function(nest)
