"""The cache of decoded sets: one safetensors file each, memory-mapped by every process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prsgd.console import print_error, say
from prsgd.data.base import Arrays, DataSet, Track
from prsgd.data.digest import digest_of
from prsgd.errors import UserError
from prsgd.files import follow_umask, read_bytes, write_atomically
from prsgd.locks import Taken, held

if TYPE_CHECKING:
    import torch
    from torch import Tensor

POLL_SECONDS = 0.2


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
                    say(f"{path} is damaged: reading {data.name()} again")
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
    """Hold the lock, and wait for it where another process reads the same data."""
    told = False
    while True:
        try:
            with held(path, print_error):
                yield
            return
        except Taken as owner:
            if not told:
                say(f"waiting for {owner}, which reads the same data")
            told = True
        time.sleep(POLL_SECONDS)


def _build(data: DataSet, path: Path, track: Track) -> None:
    """Read the set and write its cache file, which appears whole."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    for leftover in path.parent.glob(f".{path.stem}.*"):
        leftover.unlink()
    found = _read(data, path.parent / "downloads", track)
    half_done = path.with_name(f".{path.stem}.{threading.get_native_id()}")
    try:
        facts = {name: json.dumps(value) for name, value in found.facts.items()}
        save_file(found.arrays, half_done, facts)
        follow_umask(half_done)
        write_atomically(_note(path), digest_of(half_done) + "\n")
        half_done.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        half_done.unlink(missing_ok=True)


def _read(data: DataSet, downloads: Path, track: Track) -> Arrays:
    """The set. An error of its files is none of the cache's."""
    try:
        return data.read(downloads, track)
    except OSError as error:
        what = error.filename or data.name()
        raise UserError(f"data: {what} cannot be read ({error.strerror or error})") from error


def load(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of the cache file, mapped or copied to a GPU, and the facts beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, {
                name: json.loads(text) for name, text in (file.metadata() or {}).items()
            }
    except (OSError, SafetensorError) as error:
        raise UserError(f"the cache file {path} cannot be read ({error}); train again") from error
