"""Which files a folder of images holds, and which of them are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prsgd.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TREE = "a folder with train/<class>/* and test/<class>/* images"


@dataclass(frozen=True)
class ImageFile:
    """A file below root/split/name; `inside` is its path there."""

    split: str
    name: str  # of its class
    inside: str
    stat: os.stat_result

    @property
    def path(self) -> str:
        """Relative to the root."""
        return f"{self.split}/{self.name}/{self.inside}"


@dataclass
class Listing:
    """The images below a root, by split, class and path, and what was passed over."""

    files: list[ImageFile] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    hidden: int = 0  # files and folders whose names begin with a dot
    others: int = 0  # files that are no images by their names

    def count(self, split: str) -> int:
        return sum(file.split == split for file in self.files)

    def __str__(self) -> str:
        images = f"{self.count('train'):,} + {self.count('test'):,} images"
        found = [f"{counted(len(self.classes), 'class', 'classes')}, {images}"]
        if self.hidden:
            found.append(f"{counted(self.hidden, 'hidden file', 'hidden files')} ignored")
        if self.others:
            found.append(f"{counted(self.others, 'other file', 'other files')} ignored")
        return "; ".join(found)


def counted(number: int, one: str, many: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {one if number == 1 else many}"


def list_images(root: Path) -> Listing:
    """All images below train/<class>/ and test/<class>/, at any depth, in order of their paths.

    Links are followed. `UserError` where the tree is not as it must be.
    """
    found = Listing()
    if not root.is_dir():
        raise UserError(f"data.root={root}: there is no such folder; it must be {TREE}")
    try:
        names = {split: _list_split(root, split, found) for split in ("train", "test")}
    except OSError as error:
        what = f"data.root={root}: {error.filename} cannot be read ({error.strerror})"
        raise UserError(what) from error
    if unknown := sorted({*names["test"]} - {*names["train"]}):
        raise UserError(f"data.root={root}: test/{unknown[0]} has no images under train/")
    found.classes = names["train"]
    return found


def _list_split(root: Path, split: str, found: Listing) -> list[str]:
    """Add the images of a split; returns the names of its classes."""
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"data.root={root}: it has no {split}/; it must be {TREE}")
    classes: dict[str, int] = {}  # name -> number of images
    for entry in _visible(folder, found):
        if not entry.is_dir():
            found.others += 1
            continue
        files = sorted(_walk(entry.path, "", found, (place(folder),)), key=lambda file: file[0])
        found.files += [ImageFile(split, entry.name, inside, stat) for inside, stat in files]
        classes[entry.name] = len(files)
    if not any(classes.values()):
        raise UserError(f"data.root={root}: {split}/ holds no images; it must be {TREE}")
    if empty := [name for name, count in classes.items() if not count]:
        raise UserError(f"data.root={root}: {split}/{empty[0]} holds no images")
    return [*classes]


def _walk(
    folder: str, inside: str, found: Listing, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    """(path below the class, stat) of every image; `above` are the folders that lead here."""
    here = place(folder)
    if here in above:
        raise UserError(f"data: {folder} is a link to a folder that it is in")
    for entry in _visible(folder, found):
        path = f"{inside}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry.path, f"{path}/", found, (*above, here))
        elif entry.name.lower().endswith(SUFFIXES):
            yield path, entry.stat()
        else:
            found.others += 1


def _visible(folder: str | Path, found: Listing) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, by name."""
    with os.scandir(folder) as entries:
        every = sorted(entries, key=lambda entry: entry.name)
    visible = [entry for entry in every if not entry.name.startswith(".")]
    found.hidden += len(every) - len(visible)
    return visible


def place(folder: str | Path) -> tuple[int, int]:
    """What is the same for a folder and all links to it."""
    stat = Path(folder).stat()
    return stat.st_dev, stat.st_ino
