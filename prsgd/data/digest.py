"""Files known by their bytes. What their names, sizes and times say is remembered, not trusted."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from prsgd.errors import UserError
from prsgd.files import read_bytes, write_atomically

SETTLED = 2.0  # seconds after which a file's times would show another change, on any disk


def cache_folder() -> Path:
    """Where decoded sets are kept: $XDG_CACHE_HOME/prsgd, or ~/.cache/prsgd."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "prsgd"
    except RuntimeError as error:
        raise UserError(
            "there is no home folder for the cache; set XDG_CACHE_HOME to a folder that you may "
            "write to"
        ) from error


def stamp(name: bytes, stat: os.stat_result) -> bytes:
    """What changes with a file: its name, place, size, and both of its times."""
    place = f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
    return b"%s\0%s\n" % (name, place.encode())


def remembered(stamps: bytes, newest: float, compute: Callable[[], str]) -> str:
    """The digest of files with these stamps: computed once, and as often as a stamp changes.

    `newest` is the latest time at which one of them changed. Files that were changed just now are
    read again the next time, as a further change might leave their times as they are.
    """
    memo = cache_folder() / "digests" / hashlib.sha256(stamps).hexdigest()
    try:
        known = read_bytes(memo).decode("ascii", "replace").strip()
    except OSError:
        known = ""
    if re.fullmatch("[0-9a-f]{64}", known):
        return known
    settled = newest < time.time() - SETTLED
    digest = compute()
    if settled:
        try:
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(memo, digest + "\n")
        except OSError:
            pass  # the next run reads the files again
    return digest


def digest_of(path: Path) -> str:
    """The SHA-256 of one file."""
    stat = path.stat()

    def compute() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    newest = max(stat.st_mtime, stat.st_ctime)
    return remembered(stamp(os.fsencode(path.absolute()), stat), newest, compute)
