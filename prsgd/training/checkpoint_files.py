"""The files of checkpoints. Rows go by worker number, so any number of processes can read them.

    checkpoint/<step>/part-<rank>.safetensors    "x.3": worker 3's row of x, and so on;
                                                 "u.all": what is the same for all, in part-0
    checkpoint/<step>/manifest.json              each part's SHA-256, the counters, and its own sum

A checkpoint appears whole, by one rename, and the last two stay. Whatever else lies in the folder
is left alone, and no link is followed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, contiguous_format

from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError
from prsgd.files import follow_umask, read_bytes
from prsgd.run_folder import unreadable

RETAINED = 2  # how many of the newest checkpoints stay
OWN = re.compile(r"part-\d+\.safetensors|manifest\.json")  # all that a checkpoint holds


def save(
    folder: Path,
    step: int,
    tensors: dict[str, Tensor],
    counters: dict[str, Any],
    communicator: Communicator,
) -> None:
    """Write each process's tensors, and the main process's counters."""
    half_done = folder / f".{step:09d}"
    if communicator.is_main:
        for leftover in _checkpoints(folder, r"\.\d{9}"):
            shutil.rmtree(leftover)
        half_done.mkdir(parents=True)
    communicator.barrier()
    mine = {
        name: tensor.detach().cpu().clone(memory_format=contiguous_format)
        for name, tensor in tensors.items()
        if communicator.is_main or not name.endswith(".all")
    }
    save_tensors(mine, half_done / _part(communicator.rank))
    communicator.barrier()
    if communicator.is_main:
        _publish(folder, step, counters, communicator.processes)
    communicator.barrier()


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file; an OSError if it cannot be."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    follow_umask(path)


def _publish(folder: Path, step: int, counters: dict[str, Any], processes: int) -> None:
    """Seal the parts that all processes have written, and let the checkpoint appear."""
    half_done, whole = folder / f".{step:09d}", folder / f"{step:09d}"
    manifest = {
        "step": step,
        "parts": {_part(rank): _checksum(half_done / _part(rank)) for rank in range(processes)},
        "counters": counters,
    }
    sealed = {"sha256": _seal(manifest), **manifest}
    (half_done / "manifest.json").write_text(json.dumps(sealed, indent=2) + "\n")
    if whole in _checkpoints(folder):
        shutil.rmtree(whole)
    if whole.exists() or whole.is_symlink():
        raise UserError(f"{whole} is in the way: it is no checkpoint of prsgd's")
    half_done.rename(whole)
    for old in _checkpoints(folder)[:-RETAINED]:
        shutil.rmtree(old)


def newest(
    folder: Path, damaged: Callable[[dict[str, Any]], str]
) -> tuple[int, dict[str, Any], list[str]]:
    """(step, counters) of the newest whole checkpoint (0: none), and what is wrong with newer ones.

    `damaged` says what else is wrong with it, given the counters. A checkpoint that is there and
    cannot be read is not taken for a damaged one: that is a UserError.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is a link or a file; it must be a folder of this run's own")
    damage: list[str] = []
    for path in reversed(_checkpoints(folder)):
        why, found = _inspect(path)
        why = why or damaged(found)
        if not why:
            return int(path.name), found, damage
        damage.append(f"checkpoint {path.name} {why}")
    return 0, {}, damage


def _inspect(path: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong with a checkpoint (empty for nothing), and its counters."""
    try:
        manifest = _manifest(path)
        for part, checksum in manifest["parts"].items():
            if _checksum(path / part) != checksum:
                return f"is damaged ({part})", {}
        return "", dict(manifest["counters"])
    except FileNotFoundError as error:
        return f"is damaged ({Path(error.filename).name} is gone)", {}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, KeyError, AttributeError, TypeError):
        return "is damaged (manifest.json)", {}


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`, as those steps are trained again."""
    for path in _checkpoints(folder):
        if int(path.name) > step:
            shutil.rmtree(path)


def _checkpoints(folder: Path, name: str = r"\d{9}") -> list[Path]:
    """The folders of that name that hold nothing but a checkpoint's files, in order."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(name, p.name) and _is_own(p))


def _is_own(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        return all(OWN.fullmatch(entry.name) for entry in path.iterdir())
    except PermissionError:  # whose it is shows when it is read
        return True


def counters(folder: Path, step: int) -> dict[str, Any]:
    """What the main process counted until this step."""
    found: dict[str, Any] = _manifest(folder / f"{step:09d}")["counters"]
    return found


def load(folder: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Fill the tensors, in place, with those of the same name and shape in a checkpoint."""
    path = folder / f"{step:09d}"
    missing = set(tensors)
    for part in _manifest(path)["parts"]:
        with safe_open(path / part, "pt") as file:
            for name in missing & set(file.keys()):
                found = file.get_tensor(name)
                if found.shape != tensors[name].shape:
                    raise UserError(
                        f"checkpoint {path.name} in {folder} is of another model: {name} has the "
                        f"shape {tuple(found.shape)}, and this one {tuple(tensors[name].shape)}"
                    )
                tensors[name].copy_(found)
                missing.remove(name)
    if missing:
        raise UserError(f"checkpoint {path.name} in {folder} lacks {min(missing)}")


def names(folder: Path, step: int) -> set[str]:
    """The names of all tensors in a checkpoint."""
    path, found = folder / f"{step:09d}", set[str]()
    for part in _manifest(path)["parts"]:
        with safe_open(path / part, "pt") as file:
            found |= set(file.keys())
    return found


def _manifest(path: Path) -> dict[str, Any]:
    """Raises ValueError or KeyError where it is not what was written."""
    manifest: dict[str, Any] = json.loads(read_bytes(path / "manifest.json"))
    if manifest.pop("sha256") != _seal(manifest) or manifest["step"] != int(path.name):
        raise ValueError("manifest.json has been changed")
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _part(rank: int) -> str:
    return f"part-{rank}.safetensors"


def _checksum(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()
