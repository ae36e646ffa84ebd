"""The sets of images that the `data` group chooses. Importing this is free.

Libraries load on reading. `read` is called once per set and machine; `cache` keeps what it returns.
"""

from __future__ import annotations

import gzip
import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.base import Arrays, DataSet, Track
from prsgd.errors import UserError
from prsgd.fields import choice, flag, positive, text, whole
from prsgd.files import home_expanded

if TYPE_CHECKING:
    import numpy as np


@dataclass
class ImageSet(DataSet):
    """Images in classes, each image size × size."""

    size: int = whole(32, 8)
    partition: str = choice("shared", "shared", "iid", "dirichlet", "by_label")
    alpha: float = positive(0.5)
    crop: int = whole(4, 0)
    flip: bool = flag(True)
    tasks: ClassVar[tuple[str, ...]] = ("image_classification",)

    def check(self) -> str:
        if self.crop > self.size:
            return f"crop={self.crop}: must be at most data.size={self.size}"
        return ""

    @abstractmethod
    def class_count(self) -> int:
        """The number of classes, told without reading them."""

    def facts(self) -> dict[str, Any]:
        classes = self.class_count()
        features = 3 * self.size * self.size
        return {"size": self.size, "classes": classes, "features": features, "outputs": classes}

    def form(self) -> str:
        return f"{self.size} "


def of_images(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
) -> Arrays:
    """Images (n, size, size, 3) uint8 and labels (n,) per split, and the channels' mean and std."""
    import numpy as np

    pixels = train_images.reshape(-1, 3)
    # Counting the 256 values first avoids a float copy of the whole set.
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    values = np.arange(256) / 255
    mean = counts @ values / len(pixels)
    std = np.sqrt(counts @ values**2 / len(pixels) - mean**2)
    arrays = {
        "train_images": np.ascontiguousarray(train_images),
        "train_labels": train_labels.astype(np.int64),
        "test_images": np.ascontiguousarray(test_images),
        "test_labels": test_labels.astype(np.int64),
        "mean": mean.astype(np.float32),
        "std": np.maximum(std, 1e-3).astype(np.float32),
    }
    return Arrays(arrays, {"classes": classes})


@dataclass
class Torchvision(ImageSet):
    """A set that torchvision knows, downloaded when missing."""

    root: str = text("auto", "auto or the folder that holds the files", decides_curve=False)
    source: ClassVar[str]
    samples: ClassVar[int]
    checksums: ClassVar[dict[str, str]]  # file -> MD5, as torchvision publishes them
    class_number: ClassVar[int] = 10

    @property
    def title(self) -> str:
        return self.source

    def content(self) -> str:
        return " ".join(self.checksums.values())

    def train_samples(self) -> int:
        return self.samples

    def class_count(self) -> int:
        return self.class_number

    def read(self, downloads: Path, track: Track) -> Arrays:
        import torch
        from torchvision import datasets

        torch.set_num_threads(1)  # threads of torch would hang a process that is forked later
        root = self._folder(downloads)
        try:
            splits = [
                getattr(datasets, self.source)(root, train=train, download=True)
                for train in (True, False)
            ]
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data: {self.source} is not in {root} and could not be downloaded ({error}). "
                f"Put torchvision's files of {self.source} there, or train on the bundled digits: "
                "prsgd train +experiment=quickstart"
            ) from error
        (images, labels), (test_images, test_labels) = (
            (resized(_array(split.data), self.size), _array(split.targets)) for split in splits
        )
        return of_images(images, labels, test_images, test_labels, len(splits[0].classes))

    def _folder(self, downloads: Path) -> Path:
        return downloads if self.root == "auto" else home_expanded("data.root", self.root)


@dataclass
class CIFAR10(Torchvision):
    """60,000 photographs in 10 classes (Krizhevsky 2009)."""

    source: ClassVar[str] = "CIFAR10"
    samples: ClassVar[int] = 50_000
    checksums: ClassVar[dict[str, str]] = {
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"
    }


@dataclass
class CIFAR100(Torchvision):
    """60,000 photographs in 100 classes (Krizhevsky 2009)."""

    source: ClassVar[str] = "CIFAR100"
    samples: ClassVar[int] = 50_000
    checksums: ClassVar[dict[str, str]] = {
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"
    }
    class_number: ClassVar[int] = 100


@dataclass
class FashionMNIST(Torchvision):
    """70,000 grey pictures of clothes in 10 classes (Xiao et al. 2017)."""

    source: ClassVar[str] = "FashionMNIST"
    samples: ClassVar[int] = 60_000
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }

    def read(self, downloads: Path, track: Track) -> Arrays:
        packed = [self._folder(downloads) / self.source / "raw" / name for name in self.checksums]
        if all(file.with_suffix("").exists() for file in packed):
            self._refuse_others(packed)
        arrays = super().read(downloads, track)
        self._refuse_others(packed)
        return arrays

    def _refuse_others(self, packed: Sequence[Path]) -> None:
        """Compare the files with those that were published: torchvision asks for names only."""
        for file in packed:
            unpacked = file.with_suffix("")
            try:
                content, own = file.read_bytes(), unpacked.read_bytes()
            except OSError as error:
                raise UserError(
                    f"data: {error.filename} cannot be read ({error.strerror})"
                ) from error
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != self.checksums[file.name]:
                raise UserError(
                    f"data: {file} is not as published; delete it and {unpacked.name} beside it, "
                    "and train again"
                )
            if gzip.decompress(content) != own:
                raise UserError(
                    f"data: {unpacked} is not what was packed; delete it, and train again"
                )


@dataclass
class Digits(ImageSet):
    """1,797 handwritten digits of 8 x 8 pixels, in digits.npz. Every sixth is a test image.

    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, CC BY 4.0: the test set, with pixels from 0 to 16.
    """

    checksum: ClassVar[str] = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

    @property
    def title(self) -> str:
        return "digits"

    def content(self) -> str:
        return self.checksum

    def train_samples(self) -> int:
        return 1498

    def class_count(self) -> int:
        return 10

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        with np.load(Path(__file__).with_name("digits.npz")) as file:
            pixels, labels = file["pixels"], file["labels"]
        if hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest() != self.checksum:
            raise UserError("data=digits: the installed prsgd has other digits than it came with")
        images = resized((pixels * (255 / 16)).round().astype(np.uint8), self.size)
        test = np.arange(len(images)) % 6 == 5
        return of_images(images[~test], labels[~test], images[test], labels[test], 10)


@dataclass
class Synthetic(ImageSet):
    """Noise around one random picture per class: for tests, and for timing without any files."""

    train: int = whole(512, 1)
    test: int = whole(128, 1)
    classes: int = whole(10, 2)

    @property
    def title(self) -> str:
        return "synthetic"

    def content(self) -> str:
        return f"{self.train} {self.test} {self.classes}"

    def content_of_version_1(self) -> str:
        return self.content()

    def train_samples(self) -> int:
        return self.train

    def class_count(self) -> int:
        return self.classes

    def read(self, downloads: Path, track: Track) -> Arrays:
        import numpy as np

        from prsgd.rng import Purpose, generator

        rng = generator(Purpose.SYNTHETIC)
        shape = (self.size, self.size, 3)
        centres = rng.integers(64, 192, (self.classes, *shape))

        def split(n: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(n) % self.classes
            noise = rng.integers(-64, 64, (n, *shape))
            return (centres[labels] + noise).astype(np.uint8), labels

        return of_images(*split(self.train), *split(self.test), self.classes)


def _array(values: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(values)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """(n, h, w) or (n, h, w, 3) uint8 images as (n, size, size, 3); grey ones are repeated."""
    import numpy as np
    from PIL import Image

    if images.shape[1:3] != (size, size):
        images = np.stack([np.asarray(Image.fromarray(i).resize((size, size))) for i in images])
    return images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
