"""A folder of images, train/<class>/* and test/<class>/*."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.data.sets import Arrays, DataSet, Track
from prsgd.errors import UserError
from prsgd.fields import text

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
File = tuple[str, int]  # a file's name and its size in bytes
TREE = "a folder with train/<class>/* and test/<class>/* images"


@dataclass
class ImageFolder(DataSet):
    """Any images in folders named by their class; cut to a square and resized to `size`."""

    root: str = text("???", TREE, decides_curve=False)

    @property
    def title(self) -> str:
        return self.path.resolve().name

    @property
    def path(self) -> Path:
        return Path(self.root).expanduser()

    @cached_property
    def listing(self) -> dict[str, dict[str, list[File]]]:
        """split -> class -> files, each sorted by name."""
        found = {split: _classes(self.path, split) for split in ("train", "test")}
        if unknown := sorted(found["test"].keys() - found["train"].keys()):
            raise UserError(f"data.root={self.root}: test/{unknown[0]} has no images under train/")
        return found

    def class_count(self) -> int:
        return len(self.listing["train"])

    def content(self) -> str:
        return "\n".join(
            f"{split}/{name}/{file} {size}"
            for split, classes in self.listing.items()
            for name, files in classes.items()
            for file, size in files
        )

    def train_samples(self) -> int:
        return sum(map(len, self.listing["train"].values()))

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        names = list(self.listing["train"])
        files = [
            (self.path / split / name / file, names.index(name))
            for split, classes in self.listing.items()
            for name, found in classes.items()
            for file, _ in found
        ]
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda file: _decode(file[0], self.size), files)
            images = np.stack(list(track(decoded, len(files))))
        labels = np.array([label for _, label in files])
        n = self.train_samples()
        return Arrays(images[:n], labels[:n], images[n:], labels[n:], len(names))


def _classes(root: Path, split: str) -> dict[str, list[File]]:
    if not root.is_dir():
        raise UserError(f"data.root={root}: there is no such folder; it must be {TREE}")
    if not (root / split).is_dir():
        raise UserError(f"data.root={root}: it has no {split}/; it must be {TREE}")
    classes = {
        name: sorted(
            (entry.name, entry.stat().st_size)
            for entry in os.scandir(root / split / name)
            if entry.name.lower().endswith(SUFFIXES)
        )
        for name in sorted(e.name for e in os.scandir(root / split) if e.is_dir())
    }
    if not any(classes.values()):
        raise UserError(f"data.root={root}: {split}/ holds no images; it must be {TREE}")
    if empty := [name for name, files in classes.items() if not files]:
        raise UserError(f"data.root={root}: {split}/{empty[0]} holds no images")
    return classes


def _decode(path: Path, size: int) -> np.ndarray:
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (size, size))
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"data: {path} is not a readable image ({error})") from error
