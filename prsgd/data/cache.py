"""The cache of decoded sets: one safetensors file each, memory-mapped by every process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.data.sets import DataSet, Track
from prsgd.files import follow_umask

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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


def cache_folder() -> Path:
    """Where decoded sets are kept: $XDG_CACHE_HOME/prsgd, or ~/.cache/prsgd."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prsgd"


def prepare(data: DataSet, cache: Path, track: Track) -> Path:
    """The cache file of `data`, built under a lock by the first who asks for it."""
    path = cache / f"{data.fingerprint()}.safetensors"
    if path.exists():
        return path
    import numpy as np
    from filelock import FileLock
    from safetensors.numpy import save_file

    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            return path
        arrays = data.read(cache / "downloads", track)
        pixels = arrays.train_images.reshape(-1, 3)
        # Counting the 256 values first avoids a float copy of the whole set.
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
        values = np.arange(256) / 255
        mean = counts @ values / len(pixels)
        std = np.sqrt(counts @ values**2 / len(pixels) - mean**2)
        half_done = path.with_suffix(f".{os.getpid()}")
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
        half_done.replace(path)
    return path


def load(path: Path, device: torch.device) -> Images:
    """Map the cache file, or copy it to a GPU."""
    from safetensors import safe_open

    with safe_open(path, "pt", device=str(device)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Images(**tensors, classes=json.loads(file.metadata()["classes"]))
