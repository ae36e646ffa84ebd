"""Texts for language models: files of one's own, tokens made elsewhere, and Python's own library.

The last tenth of a text, by position, is for validation.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import Arrays, DataSet, Rooted, Track
from prsgd.data.digest import digest_of, remembered, stamp
from prsgd.data.listing import place
from prsgd.errors import UserError
from prsgd.fields import choice, key, text
from prsgd.files import read_bytes

if TYPE_CHECKING:
    import numpy as np

BYTES = 256  # the vocabulary of text as bytes
HELD_OUT = 10  # one part of so many is for validation
LARGEST_VOCABULARY = 1 << 16  # of 16-bit tokens


@dataclass
class TextSet(DataSet):
    """A sequence of tokens to train on and one to be tested on."""

    partition: str = choice("shared", "shared", "contiguous", "by_file")
    tasks: ClassVar[tuple[str, ...]] = ("language_modeling",)
    token: ClassVar[str] = "token"  # what a token is

    @abstractmethod
    def vocabulary_size(self) -> int:
        """Tokens are whole numbers below it."""

    @abstractmethod
    def test_samples(self) -> int:
        """The number of tokens to be tested on, unread."""

    def facts(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary_size()}


@dataclass
class Bytes(TextSet):
    """UTF-8 text, a byte a token."""

    token: ClassVar[str] = "byte"

    @abstractmethod
    def paths(self) -> list[Path]:
        """The files, in order. Refuses a bad folder."""

    @cached_property
    def _known(self) -> list[tuple[str, int]]:
        """The SHA-256 and the size of each file. No content is kept."""
        known = [_summary(_read_text(path)) for path in self.paths()]
        if sum(size for _, size in known) < 2 * HELD_OUT:
            raise UserError(f"data: {self.name()} has too little text to train on")
        return known

    def vocabulary_size(self) -> int:
        return BYTES

    def content(self) -> str:
        digests = " ".join(digest for digest, _ in self._known)
        return hashlib.sha256(digests.encode()).hexdigest()

    def train_samples(self) -> int:
        return self._size - self.test_samples()

    def test_samples(self) -> int:
        return self._size // HELD_OUT

    @property
    def _size(self) -> int:
        return sum(size for _, size in self._known)

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        contents = [_read_text(path) for path in self.paths()]
        if [_summary(content) for content in contents] != self._known:
            raise UserError(f"data: {self.name()} changed while it was read")
        tokens = np.frombuffer(b"".join(contents), np.uint8)
        starts = np.cumsum([0, *map(len, contents)])[:-1]
        n = self.train_samples()
        return of_tokens(tokens[:n], tokens[n:], starts[starts < n])


def of_tokens(train: np.ndarray, test: np.ndarray, starts: np.ndarray) -> Arrays:
    """Tokens (n,) per split, and where the training text's files start (F,)."""
    import numpy as np

    arrays = {
        "train_tokens": np.ascontiguousarray(train),
        "test_tokens": np.ascontiguousarray(test),
    }
    return Arrays({**arrays, "starts": starts.astype(np.int64)})


@dataclass
class Text(Rooted, Bytes):
    """A file, or all files in a folder and the folders in it, in the order of their names.

    Links are followed.
    """

    root: str = text("???", "a file of UTF-8 text, or a folder of such files", decides_curve=False)

    @property
    def title(self) -> str:
        return self.path.resolve().stem

    def paths(self) -> list[Path]:
        return self._listing[0]

    def found(self) -> str:
        files, hidden = self._listing
        left_out = f"; {hidden} hidden file{'s' if hidden > 1 else ''} ignored" if hidden else ""
        count = f"{len(files):,} file{'s' if len(files) > 1 else ''}"
        return f"{count}, {self._size:,} bytes{left_out}"

    @cached_property
    def _listing(self) -> tuple[list[Path], int]:
        """The files, and how many more are hidden."""
        if self.path.is_file():
            return [self.path], 0
        if not self.path.is_dir():
            raise UserError(
                f"data.root={self.root}: must be a file of UTF-8 text, or a folder of such files"
            )
        files, hidden = list[Path](), 0
        above = {self.path: [place(self.path)]}  # the places of the folders that lead to each
        for folder, folders, names in os.walk(self.path, onerror=_refuse, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for inner in (Path(folder) / name for name in folders):
                if (here := place(inner)) in above[Path(folder)]:
                    raise UserError(f"data: {inner} is a link to a folder that it is in")
                above[inner] = [*above[Path(folder)], here]
            for name in sorted(names):
                if name.startswith("."):
                    hidden += 1
                else:
                    files.append(Path(folder) / name)
        if not files:
            raise UserError(f"data.root={self.root}: it holds no files of text")
        return files, hidden


def _summary(content: bytes) -> tuple[str, int]:
    return hashlib.sha256(content).hexdigest(), len(content)


def _refuse(error: OSError) -> None:
    raise UserError(f"data: {error.filename} cannot be read ({error.strerror})") from error


def _read_text(path: Path) -> bytes:
    try:
        content = read_bytes(path)
        content.decode("utf-8")
    except OSError as error:
        raise UserError(f"data: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"data: {path} is not UTF-8 text (byte {error.start:,} is 0x{content[error.start]:02x})"
        ) from error
    return content


@dataclass
class Stdlib(Bytes):
    """The source files at the top of the running Python's library: no download."""

    @property
    def title(self) -> str:
        return f"library of Python {platform.python_version()}"

    def paths(self) -> list[Path]:
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        if not files:
            raise UserError("data=stdlib: this Python comes without the sources of its library")
        return files


@dataclass
class Tokens(Rooted, TextSet):
    """Tokens made elsewhere: train.bin and val.bin of 16-bit numbers, as nanoGPT writes them."""

    partition: str = choice("shared", "shared", "contiguous")
    root: str = text("???", "a folder with train.bin and val.bin", decides_curve=False)
    vocabulary: int = key(
        "???",
        "a whole number from 2 to 65536, above every token",
        lambda v: 2 <= v <= LARGEST_VOCABULARY,
    )

    @cached_property
    def _files(self) -> list[Path]:
        """The files of both splits, if they are what they should be."""
        files = [self.path / name for name in ("train.bin", "val.bin")]
        for file in files:
            try:
                size = file.stat().st_size
            except OSError as error:
                raise self._unreadable(file, error) from error
            if size % 2 or not size or not file.is_file():
                raise UserError(f"data: {file} must hold 16-bit numbers")
        return files

    def vocabulary_size(self) -> int:
        return self.vocabulary

    def content(self) -> str:
        self._refuse_above(self._largest)
        return " ".join(self._digests)

    def _refuse_above(self, largest: int) -> None:
        if largest >= self.vocabulary:
            raise UserError(
                f"data.vocabulary={self.vocabulary}: must be above {largest}, the largest token"
            )

    @cached_property
    def _largest(self) -> int:
        try:
            return max(map(_largest_token, self._files))
        except OSError as error:
            raise self._unreadable(Path(error.filename), error) from error

    @cached_property
    def _digests(self) -> list[str]:
        try:
            return [digest_of(file) for file in self._files]
        except OSError as error:
            raise self._unreadable(Path(error.filename), error) from error

    def _unreadable(self, file: Path, error: OSError) -> UserError:
        return UserError(
            f"data.root={self.root}: {file.name} cannot be read ({error.strerror}); it must be a "
            "folder with train.bin and val.bin"
        )

    def train_samples(self) -> int:
        return self._files[0].stat().st_size // 2

    def test_samples(self) -> int:
        return self._files[1].stat().st_size // 2

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        contents = [read_bytes(file) for file in self._files]
        if [hashlib.sha256(content).hexdigest() for content in contents] != self._digests:
            raise UserError(f"data.root={self.root}: the tokens changed while they were read")
        splits = [np.frombuffer(content, "<u2").astype(np.int32) for content in contents]
        self._refuse_above(max(int(split.max()) for split in splits))
        train, test = splits
        return of_tokens(train, test, np.zeros(1))


def _largest_token(file: Path) -> int:
    """The largest of a file's tokens, which is remembered as its digest is."""
    import numpy as np

    def compute() -> str:
        tokens = np.frombuffer(read_bytes(file), "<u2")
        if tokens.any() and not tokens[1::2].any():
            raise UserError(
                f"data: {file} must hold 16-bit numbers, and every second one is 0, as in a file "
                "of 32-bit numbers"
            )
        return f"{int(tokens.max()):064x}"

    stat = file.stat()
    name = b"largest 16-bit token of " + os.fsencode(file.absolute())
    return int(remembered(stamp(name, stat), max(stat.st_mtime, stat.st_ctime), compute), 16)
