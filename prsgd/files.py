"""Reading and writing files that may be odd: links, pipes, unreadable or half-written ones."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prsgd.errors import UserError

SCRATCH = "prsgd-scratch-"  # how the names of scratch folders begin
SCRATCH_LOCK = ".scratch.lock"  # what no other folder has


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. A pipe, a folder or a device is an OSError and never hangs."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step: a reader sees the whole old text or the whole new one."""
    half_done = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        with half_done.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half_done.replace(path)
    finally:
        half_done.unlink(missing_ok=True)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of `write_atomically`; no other process may write there."""
    for name in names:
        for leftover in folder.glob(f".{name}.*"):
            if leftover.suffix[1:].isdecimal() and not leftover.is_dir():
                leftover.unlink()


@contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """A file that is there, open to be written at its end. A link is refused."""
    descriptor = _open_own(path, os.O_APPEND)
    with os.fdopen(descriptor, "a", encoding="utf-8", newline="") as file:
        yield file


def cut(path: Path, size: int) -> None:
    """Shorten a file to `size` bytes. A link is refused."""
    descriptor = _open_own(path, 0)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _open_own(path: Path, flags: int) -> int:
    """Open for writing what is a file itself and no link to one."""
    if path.is_symlink():
        raise UserError(f"{path} is a link; prsgd writes into its own files only")
    return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags)


def from_anywhere(path: str) -> str:
    """The path as it means the same in every folder: absolute, or from the user's home as given."""
    return path if path.startswith("~") else str(Path(path).absolute())


def home_expanded(key: str, path: str) -> Path:
    """The path, the value of a key, with ~ as a home folder. `UserError` where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key}={path}: there is no such home folder") from error


def follow_umask(path: Path) -> None:
    """Give a file the mode that the user's umask asks for; safetensors writes 0600."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Those of processes that were killed are removed first."""
    try:
        for leftover in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
            _remove_leftover(leftover)
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    except OSError as error:
        raise UserError(
            f"temporary files cannot be written ({error.strerror}); let TMPDIR name a folder that "
            "you may write to"
        ) from error
    with (folder / SCRATCH_LOCK).open("w") as lock:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftover(folder: Path) -> None:
    """Remove a scratch folder whose lock nobody holds: its process and all that it forked ended."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        with (folder / SCRATCH_LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
