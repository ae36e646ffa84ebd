"""One process at a time: a lock of the system's, or a file of one's own where a disk has none."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what disks without locks answer


class Taken(Exception):
    """Another process has the lock; the text says which."""


@contextmanager
def held(path: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`. Raises `Taken`, and any other OSError of the disk.

    The system releases the lock when this process and those that it forked have ended, in whatever
    way. A disk without locks gets a file that a killed process leaves there; `warn` is told so.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Taken(file.read().strip()) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warn(f"{path.parent} is on a disk without locks; a file says who writes there")
            with _held_by_file(path.with_name(f"{path.name}.owner")):
                yield
            return
        file.truncate(0)
        file.write(_this_process())
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # what this process forked may outlive it


@contextmanager
def _held_by_file(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError as error:
        owner = path.read_text().strip()
        if not _is_gone(owner):
            raise Taken(f"{owner}; if that is over, delete {path}") from error
        path.unlink()
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_this_process())
        yield
    finally:
        path.unlink(missing_ok=True)


def _this_process() -> str:
    now = datetime.now().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}\n"


def _is_gone(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    found = re.match(r"process (\d+) on (\S+) since", owner)
    if not found or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
