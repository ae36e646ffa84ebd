"""Sets of samples and their targets, of any shape: what such a set is like, and its checks.

Importing this is free.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import Arrays, DataSet, Track
from prsgd.data.listing import counted
from prsgd.errors import UserError
from prsgd.fields import choice, positive

if TYPE_CHECKING:
    import numpy as np

NAMES = ("x_train", "y_train", "x_test", "y_test")  # as Keras calls them


@dataclass(frozen=True)
class Outline:
    """What samples and targets are like, told without them."""

    train: int  # samples
    test: int
    shape: tuple[int, ...]  # of a sample
    dtype: str  # of its numbers: uint8, int64, float32
    target: tuple[int, ...]  # the shape of a target; () of a class
    classes: int  # 0 where targets are floats


@dataclass
class Samples:
    """Samples (n, ...) uint8, int64 or float32 and targets per split.

    Targets are classes (n,) int64, or floats (n, ...) float32.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def outline(self) -> Outline:
        is_class = self.y_train.dtype.kind == "i"
        return Outline(
            train=len(self.y_train),
            test=len(self.y_test),
            shape=self.x_train.shape[1:],
            dtype=str(self.x_train.dtype),
            target=self.y_train.shape[1:],
            classes=int(max(self.y_train.max(), self.y_test.max())) + 1 if is_class else 0,
        )


@dataclass
class SampleSet(DataSet):
    """Samples, each with a class or with floats to predict."""

    partition: str = choice("shared", "shared", "iid", "contiguous", "dirichlet", "by_label")
    alpha: float = positive(0.5)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    @abstractmethod
    def outline(self) -> Outline:
        """What the samples are like. Refuses what cannot be learned from."""

    @abstractmethod
    def samples(self) -> Samples:
        """The samples themselves."""

    def suits(self) -> str:
        """The task that its targets are for: classification or regression."""
        return "classification" if self.outline().classes else "regression"

    def train_samples(self) -> int:
        return self.outline().train

    def facts(self) -> dict[str, Any]:
        """`features`: the numbers in a sample; `outputs`: the classes, or the floats in a target.

        Beside them the `shape` of a sample, the number of `classes` where there are any, and the
        `size` of samples that are images, (3, size, size).
        """
        outline = self.outline()
        facts: dict[str, Any] = {
            "features": math.prod(outline.shape),
            "shape": list(outline.shape),
            "outputs": outline.classes or math.prod(outline.target),
        }
        if outline.classes:
            facts["classes"] = outline.classes
        if outline.shape == (3, *outline.shape[-1:] * 2):
            facts["size"] = outline.shape[-1]
        return facts

    def found(self) -> str:
        outline, facts = self.outline(), self.facts()
        words = ("class", "classes") if outline.classes else ("target", "targets")
        return (
            f"{outline.train:,} + {outline.test:,} samples, "
            f"{counted(facts['features'], 'feature', 'features')}, "
            f"{counted(facts['outputs'], *words)}"
        )

    def read(self, downloads: Path, track: Track) -> Arrays:
        samples = self.samples()
        return Arrays(
            {
                "train_x": samples.x_train,
                "train_y": samples.y_train,
                "test_x": samples.x_test,
                "test_y": samples.y_test,
            }
        )


def checked(arrays: Sequence[np.ndarray], names: Sequence[str], where: str) -> Samples:
    """The samples of four arrays, in the order of NAMES and called `names` in messages.

    Images as uint8 stay so; other whole numbers become int64; floats and booleans become float32.
    Targets that are whole numbers or booleans are classes. `UserError`, which begins with `where`,
    for what is no number, not finite, empty, or does not fit together.
    """
    x_train, y_train, x_test, y_test = (
        _numbers(array, f"{where}: {name}", is_target=bool(place % 2))
        for place, (array, name) in enumerate(zip(arrays, names, strict=True))
    )
    for (x, x_name), (y, y_name) in (
        ((x_train, names[0]), (y_train, names[1])),
        ((x_test, names[2]), (y_test, names[3])),
    ):
        if len(x) != len(y):
            raise UserError(f"{where}: {x_name} has {len(x):,} samples and {y_name} {len(y):,}")
    for (train, train_name), (test, test_name) in (
        ((x_train, names[0]), (x_test, names[2])),
        ((y_train, names[1]), (y_test, names[3])),
    ):
        kinds = [f"{one.dtype} of shape {one.shape[1:]}" for one in (train, test)]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{where}: {train_name} has {kinds[0]} for each sample and {test_name} {kinds[1]}; "
                "they must be alike"
            )
    return Samples(x_train, y_train, x_test, y_test)


def _numbers(array: np.ndarray, name: str, *, is_target: bool) -> np.ndarray:
    """An array in the type that is trained on."""
    import numpy as np

    if array.dtype.kind not in "buif":
        raise UserError(f"{name} has the type {array.dtype}; it must be of numbers")
    if not array.ndim or not array.size:
        raise UserError(f"{name} has the shape {array.shape}; it holds no samples")
    if array.dtype.kind == "f" or (array.dtype.kind == "b" and not is_target):
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        finite = np.isfinite(array.reshape(len(array), -1)).all(1)
        if not finite.all():
            raise UserError(f"{name}[{int(finite.argmin())}] is not finite in float32")
    elif is_target:
        array = _classes(array, name)
    elif array.dtype != np.uint8:
        array = array.astype(np.int64)
    return np.ascontiguousarray(array)


def _classes(array: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers (n,) or (n, 1) as classes (n,)."""
    import numpy as np

    if array.shape not in ((len(array),), (len(array), 1)):
        raise UserError(
            f"{name} has whole numbers of shape {array.shape}; it must have one class a sample, or "
            "floats to predict"
        )
    classes = array.reshape(-1).astype(np.int64)
    if (lowest := int(classes.min())) < 0:
        raise UserError(f"{name} has the class {lowest}; classes are counted from 0")
    return classes
