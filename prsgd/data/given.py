"""Samples that were objects of Python's: arrays, tensors, tables and torch datasets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

from prsgd.data.base import DataSet
from prsgd.data.objects import arrays_of
from prsgd.data.samples import Outline, Samples, SampleSet, checked
from prsgd.errors import UserError
from prsgd.fields import text, whole, wholes

PARTS = ("x of train", "y of train", "x of test", "y of test")
# The fingerprint, which has the digest, tells sets apart; these keys say what the arrays are like.
ABOUT: Any = {"decides_curve": False}


@dataclass
class Given(SampleSet):
    """What `given` made of a user's objects. Its record has all but the samples."""

    train: int = whole(1, 1, **ABOUT)
    test: int = whole(1, 1, **ABOUT)
    shape: list[int] = wholes(**ABOUT)
    dtype: str = text("float32", "uint8, int64 or float32", **ABOUT)
    target: list[int] = wholes(**ABOUT)
    classes: int = whole(0, 0, **ABOUT)
    digest: str = text("???", "a SHA-256 of the arrays", **ABOUT)

    @property
    def title(self) -> str:
        return "data"

    def content(self) -> str:
        return self.digest

    def outline(self) -> Outline:
        shape, target = tuple(self.shape), tuple(self.target)
        return Outline(self.train, self.test, shape, self.dtype, target, self.classes)

    def samples(self) -> Samples:
        found: Samples | None = vars(self).get("arrays")
        if found is None:
            raise UserError(
                f"data: {self.name()} was made of objects of Python's, which a record does not "
                "hold; prsgd.train(..., data=(train, test), resume=FOLDER) goes on with it"
            )
        return found

    def located(self) -> DataSet:
        """The set itself: it is in no folder."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without the samples: other processes read the cache."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def given(data: tuple[Any, Any], label: str = "data") -> Given:
    """The set of (train, test), named `label` in figures and records.

    Each is a torch Dataset of (x, y) items with a length, read once and item by item, or a pair
    (x, y) of arrays, tensors, DataFrames or Series. Whole numbers in y are classes, and floats are
    to be predicted. `UserError` for anything else.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UserError(f"data: must be (train, test), not {type(data).__name__}")
    train, test = data
    arrays = (*arrays_of(train, "train"), *arrays_of(test, "test"))
    samples = checked(arrays, PARTS, "data")
    outline = samples.outline
    made = Given(
        label=label,
        train=outline.train,
        test=outline.test,
        shape=[*outline.shape],
        dtype=outline.dtype,
        target=[*outline.target],
        classes=outline.classes,
        digest=_digest(samples),
    )
    vars(made)["arrays"] = samples
    return made


def _digest(samples: Samples) -> str:
    """A SHA-256 of the types, shapes and bytes of the arrays."""
    digest = hashlib.sha256()
    for array in vars(samples).values():
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()
