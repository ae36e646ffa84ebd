"""What every set is: data with a name, a content, and samples that workers draw."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.fields import choice, identity_of, text
from prsgd.files import from_anywhere, home_expanded

if TYPE_CHECKING:
    import numpy as np

Track = Callable[
    [Iterable[Any], int], Iterator[Any]
]  # passes the items on and draws a progress bar


@dataclass
class Arrays:
    """A whole set as it is cached: arrays by name, and facts that JSON can hold."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataSet(ABC):
    """A set, and the keys that every set has."""

    label: str = text("auto", "a name for figures and records", decides_curve=False)
    partition: str = choice("shared", "shared", "iid", "contiguous")
    tasks: ClassVar[
        tuple[str, ...]
    ] = ()  # those of prsgd that it serves; others see for themselves

    @property
    @abstractmethod
    def title(self) -> str:
        """The name of the set in figures, unless `label` says otherwise."""

    @abstractmethod
    def content(self) -> str:
        """What the arrays depend on, in text, such as a digest of the bytes that they come from.

        The fingerprint is its hash. Refuses a bad folder.
        """

    def content_of_version_1(self) -> str:
        """What version 0.1 knew the set by."""
        return ""

    def found(self) -> str:
        """What is there, in words, for a set that every user has in another form; else nothing."""
        return ""

    def check(self) -> str:
        """What its keys say against each other, as "KEY=VALUE: must be ..."; empty if nothing."""
        return ""

    @abstractmethod
    def train_samples(self) -> int:
        """The number of training images, or of whatever else the set consists of, unread."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a model may have to know of the data, by the name that its `build` asks for."""

    @abstractmethod
    def read(self, downloads: Path, track: Track) -> Arrays:
        """The whole set. A library that downloads keeps its files under `downloads`."""

    def name(self) -> str:
        return self.title if self.label == "auto" else self.label

    def form(self) -> str:
        """What the arrays depend on beside the content, as text with a space behind it."""
        return ""

    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the content in this form."""
        return _digest(f"2 {identity_of(type(self))} {self.form()}{self.content()}")

    def fingerprint_of_version_1(self) -> str:
        """The same as version 0.1 computed it, by which its runs are recognised."""
        return _digest(f"1 {type(self).__name__} {self.form()}{self.content_of_version_1()}")

    def located(self) -> DataSet:
        """The same set with a place that does not depend on the working folder, for a record."""
        same: Any = copy(self)
        if getattr(same, "root", "auto") != "auto":
            same.root = from_anywhere(same.root)
        return same  # type: ignore[no-any-return]


class Rooted:
    """A set of the user's own, in the file or folder `root`."""

    root: str

    @property
    def path(self) -> Path:
        return home_expanded("data.root", self.root)

    @property
    def title(self) -> str:
        return self.path.resolve().name


def _digest(what: str) -> str:
    return hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:16]
