"""Folders of images: what is found in them, what they are known by, and how files are decoded."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from test_data import silent, tree

from prsgd.data import digest, sets
from prsgd.data.cache import prepare
from prsgd.data.decode import decode
from prsgd.data.digest import cache_folder, digest_of
from prsgd.data.folder import ImageFolder
from prsgd.data.images import load_images
from prsgd.data.sets import CIFAR10, CIFAR100, Digits, FashionMNIST, Synthetic
from prsgd.errors import UserError

CPU = torch.device("cpu")


def folder(root: Path, size: int = 8) -> ImageFolder:
    return ImageFolder(root=str(root), size=size)


# what a set is known by ---------------------------------------------------------------------------


def same_stat(one: Path, other: Path) -> None:
    """Give a file the times of another."""
    stat = one.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def picture(mode: str, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "pgm", "png", "tiff"])
def test_folders_with_the_same_names_and_sizes_are_told_apart(tmp_path: Path, suffix: str) -> None:
    """Their files differ in their bytes only; times are made equal as well."""
    mode = "L" if suffix == "pgm" else "RGB"
    for name, seed in (("one", 0), ("other", 1)):
        for split in ("train", "test"):
            for label in ("a", "b"):
                place = tmp_path / name / split / label
                place.mkdir(parents=True)
                file = place / f"0.{suffix}"
                picture(mode, seed).save(file, **({"compress_level": 0} if suffix == "png" else {}))
                same_stat(tmp_path / "one" / split / label / f"0.{suffix}", file)
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other")
    assert one.fingerprint_of_version_1() == other.fingerprint_of_version_1()
    assert one.fingerprint() != other.fingerprint()
    caches = [prepare(data, tmp_path / "cache", silent) for data in (one, other)]
    images = [load_images(path, CPU).train_images for path in caches]
    assert not torch.equal(*images)


def test_the_same_images_are_the_same_set_wherever_they_are(tmp_path: Path) -> None:
    """A copy, other times, other names in the same order and another order of writing."""
    tree(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    shutil.copytree(tmp_path / "one", tmp_path / "renamed")
    for file in sorted((tmp_path / "renamed").rglob("*.png")):
        file.rename(file.with_name(f"image-{file.name}"))
    found = {folder(tmp_path / name).fingerprint() for name in ("one", "copy", "renamed")}
    assert len(found) == 1


@pytest.mark.parametrize("how", ["swapped", "moved", "other order"])
def test_an_image_elsewhere_is_another_set(tmp_path: Path, how: str) -> None:
    """The same bytes in another class, in another split, or in another order."""
    one = folder(tree(tmp_path / "one"))
    tree(tmp_path / "other")
    first, second = tmp_path / "other/train/ant/1.png", tmp_path / "other/train/bee/1.png"
    if how == "swapped":
        first.rename(tmp_path / "kept")
        second.rename(first)
        (tmp_path / "kept").rename(second)
    if how == "moved":
        first.rename(tmp_path / "other/test/ant/9.png")
    if how == "other order":
        first.rename(first.with_name("z.png"))
    assert one.fingerprint() != folder(tmp_path / "other").fingerprint()


def changed_in_place(file: Path) -> None:
    """Other bytes, of the same number, in the same file, with the same time of change."""
    stat = file.stat()
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(file: Path) -> None:
    """By another file of the same size and time."""
    other = file.with_suffix(".new")
    other.write_bytes(file.read_bytes()[:-20] + bytes(20))
    same_stat(file, other)
    other.rename(file)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all files had been written long ago."""
    monkeypatch.setattr(digest, "SETTLED", -1e9)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [changed_in_place, replaced])
def test_a_file_that_keeps_its_name_size_and_time_is_read_again(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    tree(tmp_path / "data")
    before = folder(tmp_path / "data").fingerprint()
    time.sleep(0.02)  # the clock of a file system has steps of milliseconds
    change(tmp_path / "data/train/ant/1.png")
    assert folder(tmp_path / "data").fingerprint() != before


@pytest.mark.usefixtures("settled")
def test_files_are_read_once_to_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder(tree(tmp_path / "data")).fingerprint()
    monkeypatch.setattr(ImageFolder, "_bytes", lambda *_: pytest.fail("read again"))
    assert folder(tmp_path / "data").fingerprint() == before


def test_files_that_were_changed_just_now_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tree(tmp_path / "data")).fingerprint()
    reads: list[Any] = []
    own = ImageFolder._bytes
    monkeypatch.setattr(ImageFolder, "_bytes", lambda *a: reads.append(a) or own(*a))
    folder(tmp_path / "data").fingerprint()
    assert len(reads) == 12


def test_a_digest_that_cannot_be_kept_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    monkeypatch.setattr(digest, "SETTLED", -1e9)
    assert digest_of(file).startswith("ba7816bf")


def test_published_sets_are_known_by_their_published_checksums() -> None:
    from torchvision import datasets

    assert [*CIFAR10.checksums.values()] == [datasets.CIFAR10.tgz_md5]
    assert [*CIFAR100.checksums.values()] == [datasets.CIFAR100.tgz_md5]
    assert [*FashionMNIST.checksums.items()] == datasets.FashionMNIST.resources
    assert CIFAR10.checksums.keys() == {datasets.CIFAR10.filename}
    assert len({data().fingerprint() for data in (CIFAR10, CIFAR100, FashionMNIST, Digits)}) == 4


def test_a_class_of_the_same_name_elsewhere_is_another_set() -> None:
    theirs = type("Digits", (Digits,), {"__module__": "mine.sets"})
    assert theirs().fingerprint() != Digits().fingerprint()
    assert theirs().fingerprint_of_version_1() != theirs().fingerprint()


def test_other_digits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "checksum", "0" * 64)
    with pytest.raises(UserError) as refusal:
        prepare(Digits(), tmp_path, silent)
    assert str(refusal.value) == (
        "data=digits: the installed prsgd has other digits than it came with"
    )


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    with np.load(Path(sets.__file__).with_name("digits.npz")) as ours:
        np.testing.assert_array_equal(ours["pixels"], theirs.images)
        np.testing.assert_array_equal(ours["labels"], theirs.target)


@pytest.fixture
def clothes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of FashionMNIST's kind, published as such, in torchvision's folder."""
    from torchvision import datasets

    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    checksums = {}
    for name in FashionMNIST.checksums:
        head = [2051, 4, 28, 28] if "images" in name else [2049, 4]
        numbers = b"".join(number.to_bytes(4, "big") for number in head)
        content = numbers + bytes(4 * 28 * 28 if "images" in name else 4)
        packed = gzip.compress(content)
        (raw / name).write_bytes(packed)
        (raw / name).with_suffix("").write_bytes(content)
        checksums[name] = hashlib.md5(packed).hexdigest()
    monkeypatch.setattr(FashionMNIST, "checksums", checksums)
    monkeypatch.setattr(datasets.FashionMNIST, "resources", [*checksums.items()])
    return raw


@pytest.mark.parametrize("left", [0, 10, 1000, -1])
def test_an_unpacking_that_was_cut_off(clothes: Path, left: int) -> None:
    data = FashionMNIST(root=str(clothes.parents[1]))
    assert data.read(clothes, silent).arrays["train_images"].shape == (4, 32, 32, 3)
    file = clothes / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError) as refusal:
        data.read(clothes, silent)
    line = f"data: {file} is not what was packed; delete it, and train again"
    assert str(refusal.value) == line
    file.unlink()
    assert data.read(clothes, silent).arrays["train_images"].shape == (4, 32, 32, 3)


def test_clothes_that_were_not_published(clothes: Path) -> None:
    data = FashionMNIST(root=str(clothes.parents[1]))
    packed = clothes / "t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(UserError) as refusal:
        data.read(clothes, silent)
    assert str(refusal.value) == (
        f"data: {packed} is not as published; delete it and t10k-labels-idx1-ubyte beside it, and "
        "train again"
    )
    packed.unlink()
    with pytest.raises(UserError) as refusal:
        data.read(clothes, silent)
    assert str(refusal.value) == f"data: {packed} cannot be read (No such file or directory)"


def test_images_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tree(tmp_path / "data"))
    data.fingerprint()
    replaced(tmp_path / "data/train/ant/1.png")
    Image.new("RGB", (20, 12), "pink").save(tmp_path / "data/train/ant/1.png")
    with pytest.raises(UserError, match="the images changed while they were read"):
        prepare(data, tmp_path / "cache", silent)


# the cache ----------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    os.truncate(path, 1000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [cut_short, emptied, changed_in_place])
def test_a_damaged_cache_is_built_again(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    data = Synthetic(train=64, size=8)
    path = prepare(data, tmp_path, silent)
    whole = path.read_bytes()
    capsys.readouterr()
    damage(path)
    assert prepare(data, tmp_path, silent) == path
    assert path.read_bytes() == whole
    line = f"{path} is damaged: reading synthetic again\n"
    assert capsys.readouterr().out == line


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for cache in (tmp_path / "file" / "cache", Path("/dev/null/cache")):
        with pytest.raises(UserError) as refusal:
            prepare(Synthetic(train=64, size=8), cache, silent)
        assert str(refusal.value) == (
            f"the cache {cache} cannot be written (Not a directory); set XDG_CACHE_HOME to a "
            "folder that you may write to"
        )
    path = prepare(Synthetic(train=64, size=8), tmp_path / "good", silent)
    path.unlink()
    made = path
    made.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        prepare(Synthetic(train=64, size=8), tmp_path / "good", silent)


def test_a_set_that_cannot_be_read_is_not_the_caches_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Synthetic(train=64, size=8)
    for error, line in (
        (PermissionError(13, "Permission denied", "/x"), "/x cannot be read (Permission denied)"),
        (OSError("no such device"), "synthetic cannot be read (no such device)"),
    ):

        def read(*_: Any, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(Synthetic, "read", read)
        with pytest.raises(UserError) as refusal:
            prepare(data, tmp_path, silent)
        assert str(refusal.value) == f"data: {line}"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(UserError) as refusal:
        cache_folder()
    assert str(refusal.value) == (
        "there is no home folder for the cache; set XDG_CACHE_HOME to a folder that you may write "
        "to"
    )


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    data = Synthetic(train=64, size=8)
    leftover = tmp_path / f".{data.fingerprint()}.12345"
    leftover.touch()
    prepare(data, tmp_path, silent)
    assert not leftover.exists()


# what is found ------------------------------------------------------------------------------------


def test_folders_within_a_class_count(tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    (root / "train/ant/2023/spring").mkdir(parents=True)
    for n, path in enumerate(("2023/a.png", "2023/spring/b.PNG")):
        Image.new("RGB", (20, 12), (n, 0, 0)).save(root / "train/ant" / path)
    data = folder(root)
    assert data.found() == "2 classes, 10 + 4 images"
    images = load_images(prepare(data, tmp_path / "cache", silent), CPU)
    assert images.train_labels.tolist() == [0] * 6 + [1] * 4


def test_hidden_and_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    known = folder(root).fingerprint()
    (root / "train/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "train/ant/0.png", root / "train/.ipynb_checkpoints/0.png")
    (root / "train/ant/._0.png").write_bytes(b"no image")
    (root / "test/bee/.DS_Store").touch()
    (root / "test/bee/Thumbs.db").touch()
    (root / "train/labels.csv").touch()
    data = folder(root)
    assert data.found() == "2 classes, 8 + 4 images; 3 hidden files ignored; 2 other files ignored"
    assert data.fingerprint() == known


def test_one_class_only_is_worth_a_warning(tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    for split in ("train", "test"):
        shutil.rmtree(root / split / "bee")
    assert folder(root).found() == (
        "1 class, 4 + 2 images; all are of the one class ant, so there is nothing to learn"
    )


def test_what_was_found_is_said(tmp_path: Path, prsgd: Any) -> None:
    root = tree(tmp_path / "data")
    (root / "train/ant/.hidden").touch()
    arguments = ["data=image_folder", f"data.root={root}", "model=mlp", "device=cpu", "workers=2"]
    dry = prsgd("train", *arguments, "batch_size=2", "--dry-run")
    line = "data: 2 classes, 8 + 4 images; 1 hidden file ignored"
    assert dry.stdout.splitlines()[0] == line
    dropped = prsgd("train", *arguments, "batch_size=3", "remainder=drop", "--dry-run")
    assert dropped.stdout.splitlines()[:2] == [
        line,
        "remainder=drop: 2 of 8 images in each epoch (N = 2, b = 3)",
    ]


def test_a_step_that_draws_more_than_there_is_is_told(tmp_path: Path, prsgd: Any) -> None:
    root = tree(tmp_path / "data")
    arguments = ["data=image_folder", f"data.root={root}", "model=mlp", "device=cpu", "workers=2"]
    dry = prsgd("train", *arguments, "batch_size=5", "--dry-run")
    assert dry.stdout.splitlines()[1] == (
        "a step draws 10 images, more than the 8 there are (N = 2, b = 5)"
    )


def link_loop(root: Path) -> str:
    (root / "train/ant/again").symlink_to(root / "train/ant", target_is_directory=True)
    return f"data: {root}/train/ant/again is a link to a folder that it is in"


def dead_link(root: Path) -> str:
    (root / "train/ant/5.png").symlink_to(root / "nowhere.png")
    return f"data.root={root}: {root}/train/ant/5.png cannot be read (No such file or directory)"


def pipe(root: Path) -> str:
    os.mkfifo(root / "train/ant/5.png")
    return f"data: {root}/train/ant/5.png cannot be read (it is not a regular file)"


def an_image_that_is_a_bomb(root: Path) -> str:
    header = b"P6 30000 30000 255\n"
    (root / "train/ant/5.ppm").write_bytes(header + bytes(100))
    return f"data: {root}/train/ant/5.ppm is not a readable image (Image size (900000000 pixels)"


def floats_without_a_range(root: Path) -> str:
    Image.fromarray(np.full((4, 4), 7.0, np.float32)).save(root / "train/ant/5.tiff")
    why = "its floating-point values must be from 0 to 1"
    return f"data: {root}/train/ant/5.tiff is not a readable image ({why})"


def cut_image(root: Path) -> str:
    cut_short_image = root / "train/ant/1.png"
    os.truncate(cut_short_image, 60)
    return f"data: {cut_short_image} is not a readable image ("


ODD = [link_loop, dead_link, pipe, an_image_that_is_a_bomb, floats_without_a_range, cut_image]


@pytest.mark.parametrize("make", ODD)
def test_odd_entries_are_named_in_one_line(tmp_path: Path, make: Callable[[Path], str]) -> None:
    line = make(tree(tmp_path / "data"))
    with pytest.raises(UserError) as refusal:
        prepare(folder(tmp_path / "data"), tmp_path / "cache", silent)
    assert str(refusal.value).startswith(line)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "data")

    def denied(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError) as refusal:
        folder(root).fingerprint()
    why = f"{root}/train cannot be read (Permission denied)"
    assert str(refusal.value) == f"data.root={root}: {why}"


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """Such as Latin-1 ones from an old disk."""
    root = tree(tmp_path / "data")
    (root / "train/ant/0.png").rename(os.fsdecode(os.fsencode(root) + b"/train/ant/\xe4.png"))
    for split in ("train", "test"):
        bee = root / split / "bee"
        bee.rename(os.fsdecode(os.fsencode(root / split) + b"/b\xe9e"))
    images = load_images(prepare(folder(root), tmp_path / "cache", silent), CPU)
    assert images.classes == 2


# decoding -----------------------------------------------------------------------------------------


def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def expected(rgb: np.ndarray, size: int) -> np.ndarray:
    """(h, w, 3) uint8, cut to a square and resized."""
    return np.asarray(ImageOps.fit(Image.fromarray(rgb), (size, size)))


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1).astype(np.uint8)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


SIGNED_TAG = b"\x53\x01\x03\x00\x01\x00\x00\x00\x02\x00"  # number, type, count, value


def deep_grey(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    kind = rng.choice(["PNG", "TIFF", "TIFF;B", "PPM", "32", "signed", "white is zero"])
    if kind in ("32", "signed"):
        low, high = (0, 2**31) if kind == "signed" else (-(2**31), 2**31)
        values = rng.integers(low, high, shape).astype(np.int32)
        content = stored(Image.fromarray(values), "TIFF")
        if kind == "32":  # Pillow writes signed numbers only; the tag SampleFormat tells
            content = content.replace(SIGNED_TAG, SIGNED_TAG.replace(b"\2", b"\1"))
        top = 2**31 - 1 if kind == "signed" else 2**32 - 1
        exact = values.astype(np.int64) % 2**32
        return content, grey(np.rint(exact * 255 / top))
    values = rng.integers(0, 65536, shape).astype(np.uint16)
    if kind == "TIFF;B":
        image = Image.frombytes("I;16B", shape[::-1], values.astype(">u2").tobytes())
    else:
        image = Image.fromarray(values)
    if kind == "white is zero":
        content = stored(image, "TIFF", tiffinfo={262: 0})
        return content, grey(255 - np.rint(values * (255 / 65535)))
    return stored(image, kind.partition(";")[0]), grey(np.rint(values * (255 / 65535)))


def floating(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    values = rng.random(shape, np.float32)
    return stored(Image.fromarray(values), "TIFF"), grey(np.rint(values * 255))


def transparent(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    mode = rng.choice(["RGBA", "LA", "PA", "P", "RGB", "L"])
    alpha = rng.integers(0, 256, shape)
    rgb = rng.integers(0, 256, (*shape, 3))
    if mode in ("RGBA", "LA"):
        rgb = grey(rgb[..., 0]) if mode == "LA" else rgb
        channels = [rgb[..., :1], alpha[..., None]] if mode == "LA" else [rgb, alpha[..., None]]
        image = Image.fromarray(np.concatenate(channels, -1).astype(np.uint8), str(mode))
        kind = rng.choice(["PNG", "TIFF"] if mode == "LA" else ["PNG", "TIFF", "WEBP"])
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        return stored(image, str(kind), **options), over_white(rgb, alpha)
    palette = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    places = rng.integers(0, 256, shape).astype(np.uint8)
    clear = int(places[0, 0])
    seen = palette[places]
    if mode == "PA":
        image = Image.fromarray(places, "P")
        image.putpalette(palette.tobytes())
        image = image.convert("PA")
        image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
        return stored(image, "TIFF"), over_white(seen, alpha)
    if mode == "P":
        image = Image.fromarray(places, "P")
        image.putpalette(palette.tobytes())
        opaque = np.where(places == clear, 0, 255)
        return stored(image, "PNG", transparency=clear), over_white(seen, opaque)
    if mode == "L":
        content = stored(Image.fromarray(places), "PNG", transparency=clear)
        return content, over_white(grey(places), np.where(places == clear, 0, 255))
    colour = tuple(int(v) for v in rgb[0, 0])
    opaque = np.where((rgb == rgb[0, 0]).all(-1), 0, 255)
    content = stored(Image.fromarray(rgb.astype(np.uint8)), "PNG", transparency=colour)
    return content, over_white(rgb, opaque)


def plain(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    mode = rng.choice(["1", "L", "P", "RGB", "CMYK"])
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    if mode == "1":
        bits = rng.integers(0, 2, shape).astype(bool)
        kind = rng.choice(["PNG", "TIFF", "BMP", "PPM"])
        return stored(Image.fromarray(bits), str(kind)), grey(bits * 255)
    if mode == "L":
        kind = rng.choice(["PNG", "TIFF", "BMP", "PPM"])
        return stored(Image.fromarray(rgb[..., 0]), str(kind)), grey(rgb[..., 0])
    if mode == "P":
        palette = rng.integers(0, 256, (256, 3)).astype(np.uint8)
        image = Image.fromarray(rgb[..., 0], "P")
        image.putpalette(palette.tobytes())
        kind = rng.choice(["PNG", "TIFF", "BMP"])
        return stored(image, str(kind)), palette[rgb[..., 0]]
    if mode == "CMYK":
        inks = np.concatenate([255 - rgb, np.zeros((*shape, 1), np.uint8)], -1)
        return stored(Image.fromarray(inks, "CMYK"), "TIFF"), rgb
    kind = rng.choice(["PNG", "TIFF", "BMP", "PPM", "WEBP"])
    options = {"lossless": True} if kind == "WEBP" else {}
    return stored(Image.fromarray(rgb), str(kind), **options), rgb


def turned(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    """Stored as EXIF says that it was held, 1 to 8."""
    orientation = int(rng.integers(1, 9))
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    stored_as = {  # upright -> as it is in the file, the inverse of what EXIF's number asks for
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, 1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = rng.choice(["PNG", "TIFF", "WEBP"])
    options = {"lossless": True} if kind == "WEBP" else {}
    return stored(Image.fromarray(stored_as.copy()), str(kind), exif=exif, **options), rgb


def lossy(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    """Read back by torchvision, which has decoders of its own."""
    from torchvision.io import ImageReadMode, decode_image

    smooth = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)
    image = Image.fromarray(smooth).resize(shape[::-1], Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        image = image.convert("L")
    content = stored(image, "JPEG", quality=90)
    read = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    return content, read.permute(1, 2, 0).numpy()


KINDS = [deep_grey, floating, transparent, plain, turned, lossy]


@pytest.mark.filterwarnings("ignore:The image decoding")
@pytest.mark.parametrize("seed", range(300))
def test_files_of_every_mode_and_format(seed: int) -> None:
    """Against pixels that were never in a file, or that another library has decoded."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    shape = (int(rng.integers(4, 12)), int(rng.integers(4, 12)))
    content, rgb = kind(rng, shape)
    size = 8
    want = expected(np.rint(rgb).astype(np.uint8), size).astype(int)
    assert np.abs(decode(content, size).astype(int) - want).max() <= 2
