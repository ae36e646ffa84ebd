"""A folder of images, train/<class>/* and test/<class>/*."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prsgd.data.base import Arrays, Rooted, Track
from prsgd.data.digest import remembered, stamp
from prsgd.data.listing import TREE, ImageFile, Listing, list_images
from prsgd.data.sets import ImageSet, of_images
from prsgd.errors import UserError
from prsgd.fields import text
from prsgd.files import read_bytes

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
SMALL = 20_000  # bytes of a file on average, below which threads cost more than they bring


@dataclass
class ImageFolder(Rooted, ImageSet):
    """Any images in folders named by their class; cut to a square and resized to `size`."""

    root: str = text("???", TREE, decides_curve=False)

    @cached_property
    def listing(self) -> Listing:
        return list_images(self.path)

    def class_count(self) -> int:
        return len(self.listing.classes)

    def found(self) -> str:
        only = self.listing.classes[0] if self.class_count() == 1 else ""
        warning = f"; all are of the one class {only}, so there is nothing to learn" if only else ""
        return f"{self.listing}{warning}"

    def content(self) -> str:
        return self._content

    @cached_property
    def _content(self) -> str:
        files = self.listing.files
        stamps = b"".join(stamp(os.fsencode(file.path), file.stat) for file in files)
        newest = max(max(file.stat.st_mtime, file.stat.st_ctime) for file in files)
        return remembered(stamps, newest, self._read_content)

    def _read_content(self) -> str:
        with self._mapped(lambda file: hashlib.sha256(self._bytes(file))) as digests:
            return self._combined(digest.hexdigest() for digest in digests)

    @contextmanager
    def _mapped(self, function: Callable[[ImageFile], T]) -> Iterator[Iterator[T]]:
        """What a function makes of each file, in threads unless the files are small."""
        files = self.listing.files
        if sum(file.stat.st_size for file in files) < SMALL * len(files):
            yield map(function, files)
            return
        with ThreadPoolExecutor() as pool:
            yield pool.map(function, files)

    def _combined(self, digests: Iterable[str]) -> str:
        """The digest of all images in order, each with its split and its class's number."""
        classes = {name: number for number, name in enumerate(self.listing.classes)}
        lines = (
            f"{file.split} {classes[file.name]} {digest}\n"
            for file, digest in zip(self.listing.files, digests, strict=True)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def content_of_version_1(self) -> str:
        return "\n".join(
            f"{file.path} {file.stat.st_size}"
            for file in self.listing.files
            if "/" not in file.inside
        )

    def train_samples(self) -> int:
        return self.listing.count("train")

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np
        from PIL import Image

        files, names = self.listing.files, self.listing.classes
        with self._mapped(self._image) as found, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            read = list(track(found, len(files)))
        if self._combined(digest for _, digest in read) != self.content():
            raise UserError(f"data.root={self.root}: the images changed while they were read")
        images = np.stack([image for image, _ in read])
        labels = np.array([names.index(file.name) for file in files])
        n = self.train_samples()
        return of_images(images[:n], labels[:n], images[n:], labels[n:], len(names))

    def _image(self, file: ImageFile) -> tuple[np.ndarray, str]:
        """The decoded file, and the digest of its bytes."""
        from PIL import UnidentifiedImageError

        from prsgd.data.decode import decode

        content = self._bytes(file)
        try:
            return decode(content, self.size), hashlib.sha256(content).hexdigest()
        except Exception as error:  # Pillow raises many kinds over a broken file
            unknown = isinstance(error, UnidentifiedImageError)
            why = "its format is unknown" if unknown else str(error) or type(error).__name__
            path = self.path / file.path
            raise UserError(f"data: {path} is not a readable image ({why})") from error

    def _bytes(self, file: ImageFile) -> bytes:
        try:
            return read_bytes(self.path / file.path)
        except OSError as error:
            path = self.path / file.path
            raise UserError(f"data: {path} cannot be read ({error.strerror})") from error
