"""Sets, their cache, partitions, and batches as a function of (seed, worker, draw)."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from prsgd.data.batches import Batches, cropped, cuts
from prsgd.data.cache import prepare
from prsgd.data.folder import ImageFolder
from prsgd.data.images import Images, load_images
from prsgd.data.order import Order
from prsgd.data.partition import shards
from prsgd.data.sets import CIFAR10, Digits, Synthetic, resized
from prsgd.errors import UserError

CPU = torch.device("cpu")


def silent(items: Iterable[Any], total: int) -> Iterator[Any]:
    return iter(items)


def tree(root: Path, train: int = 4, test: int = 2) -> Path:
    """Two classes of plain pictures, whose brightness tells which."""
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(("ant", "bee")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (20, 12), (200 * label, 10 * i, 0)).save(folder / f"{i}.png")
    return root


def test_digits_are_split_alike_everywhere(cache: Path) -> None:
    images = load_images(prepare(Digits(), cache, silent), CPU)
    assert images.train_images.shape == (1498, 32, 32, 3)
    assert len(images.train_labels) == Digits().train_samples()
    assert len(images.train_labels) + len(images.test_labels) == 1797
    assert torch.bincount(images.test_labels, minlength=10).min() >= 20
    assert torch.equal(images.train_images[..., 0], images.train_images[..., 2])


def test_images_are_normalised_by_channel(cache: Path) -> None:
    images = load_images(prepare(Synthetic(size=8), cache, silent), CPU)
    x = images.normalised(images.train_images)
    assert x.shape == (512, 3, 8, 8)
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_a_cache_is_built_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Synthetic(train=64, size=8)
    path = prepare(data, tmp_path, silent)
    built = path.stat().st_mtime_ns
    monkeypatch.setattr(Synthetic, "read", lambda *_: pytest.fail("read again"))
    assert prepare(data, tmp_path, silent) == path
    assert path.stat().st_mtime_ns == built
    assert [p.name for p in tmp_path.glob("*.safetensors")] == [path.name]
    left = [p for p in tmp_path.iterdir() if p.suffix not in (".safetensors", ".sha256", ".lock")]
    assert not left
    assert load_images(path, CPU).train_images.shape == (64, 8, 8, 3)


def test_fingerprints_tell_contents_apart(tmp_path: Path) -> None:
    one = ImageFolder(root=str(tree(tmp_path / "one")))
    again = ImageFolder(root=str(tree(tmp_path / "again")))
    more = ImageFolder(root=str(tree(tmp_path / "more", train=5)))
    larger = ImageFolder(root=str(tmp_path / "one"), size=16)
    assert one.fingerprint() == again.fingerprint()
    assert len({d.fingerprint() for d in (one, more, larger, Digits(), CIFAR10())}) == 5
    assert all(len(d.fingerprint()) == 16 for d in (one, CIFAR10()))


def test_a_folder_of_images(tmp_path: Path) -> None:
    data = ImageFolder(root=str(tree(tmp_path / "insects")), size=8)
    images = load_images(prepare(data, tmp_path / "cache", silent), CPU)
    assert data.name() == "insects"
    assert data.train_samples() == 8
    assert images.classes == 2
    assert images.train_labels.tolist() == [0] * 4 + [1] * 4
    assert images.test_labels.tolist() == [0, 0, 1, 1]
    assert images.train_images.shape == (8, 8, 8, 3)
    assert images.train_images[4:, ..., 0].eq(200).all()
    assert images.train_images[3, 0, 0].tolist() == [0, 30, 0]


def broken(root: Path, how: str) -> Path:
    if how == "missing":
        return root / "nowhere"
    tree(root)
    if how == "no test":
        (root / "test").rename(root / "validation")
    if how == "empty":
        for path in (root / "train").glob("*/*"):
            path.unlink()
    if how == "empty class":
        (root / "train" / "wasp").mkdir()
    if how == "class without training":
        (root / "test" / "wasp").mkdir()
        (root / "test/ant/0.png").rename(root / "test/wasp/0.png")
    if how == "unreadable":
        (root / "train/bee/2.png").write_bytes(b"not a picture")
    return root


TREE = "it must be a folder with train/<class>/* and test/<class>/* images"
BROKEN = {
    "missing": "data.root={root}: there is no such folder; " + TREE,
    "no test": "data.root={root}: it has no test/; " + TREE,
    "empty": "data.root={root}: train/ holds no images; " + TREE,
    "empty class": "data.root={root}: train/wasp holds no images",
    "class without training": "data.root={root}: test/wasp has no images under train/",
    "unreadable": "data: {root}/train/bee/2.png is not a readable image",
}


@pytest.mark.parametrize("how", BROKEN)
def test_bad_folders_are_refused(tmp_path: Path, how: str) -> None:
    root = broken(tmp_path / "data", how)
    with pytest.raises(UserError) as refusal:
        prepare(ImageFolder(root=str(root)), tmp_path / "cache", silent)
    assert str(refusal.value).startswith(BROKEN[how].format(root=root))
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_set_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", unreachable)
    with pytest.raises(UserError) as refusal:
        prepare(CIFAR10(), tmp_path, silent)
    assert str(refusal.value) == (
        f"data: CIFAR10 is not in {tmp_path}/downloads and could not be downloaded (no route to "
        "host). Put torchvision's files of CIFAR10 there, or train on the bundled digits: "
        "prsgd train +experiment=quickstart"
    )


class Bomb:
    """A pickle that makes the folder `went_off` when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("went_off",)


@pytest.mark.parametrize("kind", ["unpacked", "archive"])
def test_a_tampered_download_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """CIFAR-10 is pickles in a tar file; what fails its checksum is neither read nor unpacked."""
    from torchvision.datasets import utils

    def unreachable(*_: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(utils, "_urlretrieve", unreachable)
    monkeypatch.chdir(tmp_path)
    downloads = tmp_path / "downloads"
    batch = downloads / "cifar-10-batches-py/data_batch_1"
    batch.parent.mkdir(parents=True)
    batch.write_bytes(pickle.dumps(Bomb()))
    if kind == "archive":
        with tarfile.open(downloads / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(batch, "../went_off")
        shutil.rmtree(batch.parent)
    with pytest.raises(UserError, match="CIFAR10 is not in"):
        prepare(CIFAR10(), tmp_path, silent)
    assert not (tmp_path / "went_off").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "went_off").exists()


def test_torchvision_sets_are_read_through_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    class Fake:
        classes = ("a", "b")

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            assert download
            n = 6 if train else 2
            self.data = np.full((n, 32, 32, 3), 7, np.uint8)
            self.targets = [i % 2 for i in range(n)]

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    images = load_images(prepare(CIFAR10(), tmp_path, silent), CPU)
    assert images.train_images.shape == (6, 32, 32, 3)
    assert images.test_labels.tolist() == [0, 1]
    assert images.classes == 2


def test_grey_images_are_resized_and_repeated() -> None:
    grey = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    assert resized(grey, 8).shape == (2, 8, 8, 3)
    assert np.array_equal(resized(grey, 4)[..., 1], grey)


LABELS = np.repeat(np.arange(10), 60)


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("kind", ["iid", "dirichlet", "by_label"])
def test_shards_are_disjoint_and_even(kind: str, carry: bool) -> None:
    """They hold every image with `carry`, and are equally long without it."""
    parts = shards(kind, LABELS, 7, 0.3, 1, carry)
    assert [len(p) for p in parts] == ([86] * 5 + [85] * 2 if carry else [85] * 7)
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)
    again = shards(kind, LABELS, 7, 0.3, 1, carry)
    assert all(map(np.array_equal, parts, again))
    other = shards(kind, LABELS, 7, 0.3, 2, carry)
    assert not all(map(np.array_equal, parts, other))


def test_partitions_differ_in_their_classes() -> None:
    def classes(kind: str, alpha: float = 1.0) -> float:
        return np.mean([len(np.unique(LABELS[p])) for p in shards(kind, LABELS, 5, alpha, 0, True)])

    assert shards("shared", LABELS, 5, 1.0, 0, True) is None
    assert classes("by_label") == 2
    assert classes("iid") == 10
    assert classes("dirichlet", 0.05) < classes("dirichlet", 1.0) <= classes("dirichlet", 1e4)


def images_of(n: int, size: int = 6) -> Images:
    """Image i is i everywhere, so that a batch shows which images it holds."""
    values = torch.arange(n, dtype=torch.uint8)
    pictures = values[:, None, None, None].expand(n, size, size, 3).contiguous()
    labels = torch.arange(n)
    flat = torch.zeros(3), torch.ones(3)
    return Images(pictures, labels, pictures[:1], labels[:1], *flat, classes=n)


def test_draws_run_on_across_the_borders_of_epochs() -> None:
    """Together they are one permutation after another, whatever N and b; b may exceed n."""
    for workers, b in ((3, 4), (1, 7), (7, 3), (2, 60)):
        batches = Order(50, None, workers, b, seed=0, carry=True)
        draws = -(-200 // (workers * b))
        drawn = [batches.indices(w, k) for k in range(draws) for w in range(workers)]
        assert {len(batch) for batch in drawn} == {b}
        stream = np.concatenate(drawn)
        for epoch in range(4):
            assert sorted(stream[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    first, second = stream[:50], stream[50:100]
    assert not np.array_equal(first, second)


def test_a_batch_may_be_larger_than_a_shard() -> None:
    parts = shards("iid", np.zeros(50, int), 3, 1.0, 0, True)
    batches = Order(50, parts, 3, 40, seed=0, carry=True)
    for worker, shard in enumerate(parts):
        stream = np.concatenate([batches.indices(worker, k) for k in range(3)])
        for epoch in range(len(stream) // len(shard)):
            piece = stream[len(shard) * epoch : len(shard) * (epoch + 1)]
            assert sorted(piece) == sorted(shard)


def test_an_epoch_deals_every_image_at_most_once() -> None:
    """Where the remainder is dropped."""
    batches = Order(50, None, 3, 4, seed=0, carry=False)
    epochs = [
        np.concatenate([batches.indices(w, e * 4 + k) for w in range(3) for k in range(4)])
        for e in range(2)
    ]
    for epoch in epochs:
        assert len(np.unique(epoch)) == 48
    assert not np.array_equal(*epochs)


def test_a_worker_draws_from_its_own_shard() -> None:
    parts = shards("iid", np.zeros(50, int), 3, 1.0, 0, False)
    batches = Order(50, parts, 3, 4, seed=0, carry=False)
    for worker in range(3):
        epoch = np.concatenate([batches.indices(worker, k) for k in range(4)])
        assert set(epoch) == set(parts[worker])


def test_a_draw_is_a_pure_function() -> None:
    def make(seed: int) -> Batches:
        order = Order(50, None, 3, 4, seed, carry=True)
        return Batches(images_of(50), order, crop=2, flip=True)

    one, two, other = make(0), make(0), make(1)
    wanted = [(2, 7), (0, 0), (1, 31), (2, 7)]
    straight = [one.draw(*where) for where in wanted]
    backwards = [two.draw(*where) for where in reversed(wanted)][::-1]
    for (x, y), (x2, y2) in zip(straight, backwards, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    assert not torch.equal(other.draw(1, 31)[1], straight[2][1])
    together = one.draws(*zip(*wanted, strict=True))
    for row, alone in enumerate(straight):
        assert all(
            torch.equal(of_all[row], own) for of_all, own in zip(together, alone, strict=True)
        )


def test_augmentation_crops_and_mirrors() -> None:
    """Every result is one of the crops of the padded image, mirrored or not."""
    images = torch.arange(64 * 5 * 5 * 3).reshape(64, 5, 5, 3).remainder(251).to(torch.uint8) + 1
    places = cuts(np.random.default_rng(0), 64, 5, 5, 2, True)
    result = cropped(images, 2, *map(torch.from_numpy, places))
    assert result.shape == images.shape
    seen = set()
    for image, got in zip(images, result, strict=True):
        padded = torch.zeros(9, 9, 3, dtype=torch.uint8)
        padded[2:7, 2:7] = image
        matches = [
            (i, j, flip)
            for i in range(5)
            for j in range(5)
            for flip in (False, True)
            if torch.equal(
                (padded[i : i + 5, j : j + 5].flip(1) if flip else padded[i : i + 5, j : j + 5]),
                got,
            )
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert {i for i, _, _ in seen} == {j for _, j, _ in seen} == set(range(5))
    assert {flip for _, _, flip in seen} == {False, True}
    places = cuts(np.random.default_rng(0), 64, 5, 5, 0, False)
    assert torch.equal(cropped(images, 0, *map(torch.from_numpy, places)), images)


@pytest.mark.parametrize(
    ("given", "recorded"),
    [("~/pictures", "~/pictures"), ("/data/set", "/data/set"), ("near", "HERE/near")],
)
def test_a_place_is_recorded_as_it_means_the_same_anywhere(
    given: str, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record with ~ names no home, and is found in that of whoever has it."""
    monkeypatch.chdir(tmp_path)
    found: Any = ImageFolder(root=given).located()
    assert found.root == recorded.replace("HERE", str(tmp_path))
