"""Samples in one file of the user's, which is known by its bytes."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from prsgd.data.base import Rooted
from prsgd.data.digest import digest_of
from prsgd.data.samples import Outline, Samples, SampleSet
from prsgd.errors import UserError
from prsgd.fields import text
from prsgd.files import read_bytes

_latest: dict[str, Samples] = {}  # by fingerprint: one set, read once for all runs on it


@dataclass
class SampleFile(Rooted, SampleSet):
    """A file at `root`."""

    root: str = text("???", "a file of samples", decides_curve=False)
    kind: ClassVar[str]  # what the file must be, in words

    @abstractmethod
    def parsed(self, content: bytes) -> Samples:
        """The samples in the file's bytes."""

    @property
    def where(self) -> str:
        """How messages about the file begin."""
        return f"data.root={self.root}"

    def content(self) -> str:
        if not self.path.is_file():
            raise UserError(f"{self.where}: there is no such file; it must be {self.kind}")
        try:
            return digest_of(self.path)
        except OSError as error:
            raise UserError(f"{self.where}: cannot be read ({error.strerror})") from error

    def outline(self) -> Outline:
        return self.samples().outline

    def samples(self) -> Samples:
        fingerprint = self.fingerprint()
        if fingerprint not in _latest:
            found = self.parsed(self._bytes())
            _latest.clear()
            _latest[fingerprint] = found
        return _latest[fingerprint]

    def _bytes(self) -> bytes:
        digest = self.content()
        content = read_bytes(self.path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{self.where}: it changed while it was read")
        return content
