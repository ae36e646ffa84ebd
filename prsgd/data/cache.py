"""The cache of decoded sets: one safetensors file each, memory-mapped by every process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.console import print_error, say
from prsgd.data.digest import digest_of
from prsgd.data.sets import DataSet, Track
from prsgd.errors import UserError
from prsgd.files import follow_umask, read_bytes, write_atomically
from prsgd.locks import Taken, held

if TYPE_CHECKING:
    import torch
    from torch import Tensor

POLL_SECONDS = 0.2


@dataclass
class Images:
    """A set in memory: images (n, size, size, 3) uint8, labels (n,) int64, on one device."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor  # (3,), of the training images' channels, in [0, 1]
    std: Tensor  # (3,), of the same
    classes: int

    def normalised(self, images: Tensor) -> Tensor:
        """(b, h, w, 3) uint8 to (b, 3, h, w) float32, stored channels-last."""
        x = images.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)
        return x.permute(0, 3, 1, 2)


def prepare(data: DataSet, cache: Path, track: Track) -> Path:
    """The cache file of `data`, built under a lock by the first who asks for it.

    A file that is not as it was written is built again. `UserError` where the cache cannot be
    written.
    """
    path = cache / f"{data.fingerprint()}.safetensors"
    try:
        if _is_whole(path):
            return path
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if not _is_whole(path):
                if path.exists():
                    say(f"{path} is damaged: reading the images of {data.name()} again")
                _build(data, path, track)
    except OSError as error:
        raise UserError(
            f"the cache {cache} cannot be written ({error.strerror or error}); set XDG_CACHE_HOME "
            "to a folder that you may write to"
        ) from error
    return path


def _is_whole(path: Path) -> bool:
    """Whether a cache file has the digest that was noted when it was written."""
    try:
        return read_bytes(_note(path)).decode("ascii", "replace").strip() == digest_of(path)
    except OSError:
        return False


def _note(path: Path) -> Path:
    return path.with_suffix(".sha256")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock, and wait for it where another process reads the same images."""
    told = False
    while True:
        try:
            with held(path, print_error):
                yield
            return
        except Taken as owner:
            if not told:
                say(f"waiting for {owner}, which reads the same images")
            told = True
        time.sleep(POLL_SECONDS)


def _build(data: DataSet, path: Path, track: Track) -> None:
    """Read the set and write its cache file, which appears whole."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    for leftover in path.parent.glob(f".{path.stem}.*"):
        leftover.unlink()
    arrays = data.read(path.parent / "downloads", track)
    pixels = arrays.train_images.reshape(-1, 3)
    # Counting the 256 values first avoids a float copy of the whole set.
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    values = np.arange(256) / 255
    mean = counts @ values / len(pixels)
    std = np.sqrt(counts @ values**2 / len(pixels) - mean**2)
    half_done = path.with_name(f".{path.stem}.{os.getpid()}")
    try:
        save_file(
            {
                "train_images": np.ascontiguousarray(arrays.train_images),
                "train_labels": arrays.train_labels.astype(np.int64),
                "test_images": np.ascontiguousarray(arrays.test_images),
                "test_labels": arrays.test_labels.astype(np.int64),
                "mean": mean.astype(np.float32),
                "std": np.maximum(std, 1e-3).astype(np.float32),
            },
            half_done,
            {"classes": json.dumps(arrays.classes)},
        )
        follow_umask(half_done)
        write_atomically(_note(path), digest_of(half_done) + "\n")
        half_done.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        half_done.unlink(missing_ok=True)


def load(path: Path, device: torch.device) -> Images:
    """Map the cache file, or copy it to a GPU."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Images(**tensors, classes=json.loads(file.metadata()["classes"]))
    except (OSError, SafetensorError) as error:
        raise UserError(f"the cache file {path} cannot be read ({error}); train again") from error
