"""A folder of images, train/<class>/* and test/<class>/*."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.data.sets import Arrays, DataSet, Track
from prsgd.errors import Refused
from prsgd.keys import text

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TREE = "a folder with train/<class>/* and test/<class>/* images"


@dataclass
class ImageFolder(DataSet):
    """Any images in folders named by their class; cut to a square and resized to `size`."""

    root: str = text("???", TREE)

    @property
    def title(self) -> str:
        return self.path.resolve().name

    @property
    def path(self) -> Path:
        return Path(self.root).expanduser()

    @cached_property
    def listing(self) -> dict[str, dict[str, list[os.DirEntry[str]]]]:
        """split -> class -> files, each sorted by name."""
        found = {split: _classes(self.path, split) for split in ("train", "test")}
        if unknown := sorted(found["test"].keys() - found["train"].keys()):
            raise Refused(f"data.root={self.root}: test/{unknown[0]} has no images under train/")
        return found

    def content(self) -> str:
        return "\n".join(
            f"{split}/{name}/{entry.name} {entry.stat().st_size}"
            for split, classes in self.listing.items()
            for name, entries in classes.items()
            for entry in entries
        )

    def train_samples(self) -> int:
        return sum(map(len, self.listing["train"].values()))

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        names = list(self.listing["train"])
        files = [
            (split, entry.path, names.index(name))
            for split, classes in self.listing.items()
            for name, entries in classes.items()
            for entry in entries
        ]
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda file: _decode(file[1], self.size), files)
            images = np.stack(list(track(decoded, len(files))))
        labels = np.array([label for _, _, label in files])
        n = self.train_samples()
        return Arrays(images[:n], labels[:n], images[n:], labels[n:], len(names))


def _classes(root: Path, split: str) -> dict[str, list[os.DirEntry[str]]]:
    if not root.is_dir():
        raise Refused(f"data.root={root}: there is no such folder; it must be {TREE}")
    if not (root / split).is_dir():
        raise Refused(f"data.root={root}: it has no {split}/; it must be {TREE}")
    classes = {
        name: sorted(
            (e for e in os.scandir(root / split / name) if e.name.lower().endswith(SUFFIXES)),
            key=lambda entry: entry.name,
        )
        for name in sorted(e.name for e in os.scandir(root / split) if e.is_dir())
    }
    if not any(classes.values()):
        raise Refused(f"data.root={root}: {split}/ holds no images; it must be {TREE}")
    if empty := [name for name, entries in classes.items() if not entries]:
        raise Refused(f"data.root={root}: {split}/{empty[0]} holds no images")
    return classes


def _decode(path: str, size: int) -> np.ndarray:
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (size, size))
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
    except (OSError, ValueError, SyntaxError) as error:
        raise Refused(f"data: {path} is not a readable image ({error})") from error
