"""The files of checkpoints. Rows go by worker number, so any number of processes can read them.

    checkpoint/<step>/part-<rank>.safetensors    "x.3": worker 3's row of x, and so on;
                                                 "u.all": what is the same for all, in part-0
    checkpoint/<step>/manifest.json              each part's SHA-256, the counters, and its own sum

A checkpoint appears whole, by one rename, and the last two stay.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prsgd.distributed.communicator import Communicator
from prsgd.errors import UserError

RETAINED = 2  # how many of the newest checkpoints stay


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
        for leftover in folder.glob(".*"):
            shutil.rmtree(leftover)
        half_done.mkdir(parents=True)
    communicator.barrier()
    mine = {
        name: tensor.detach().cpu().clone()
        for name, tensor in tensors.items()
        if communicator.is_main or not name.endswith(".all")
    }
    try:
        save_file(mine, half_done / _part(communicator.rank))
    except SafetensorError as error:
        raise OSError(f"the checkpoint cannot be written: {error}") from error
    communicator.barrier()
    if communicator.is_main:
        _publish(folder, step, counters, communicator.processes)
    communicator.barrier()


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
    if whole.exists():
        shutil.rmtree(whole)
    half_done.rename(whole)
    for old in sorted(folder.glob("[0-9]*"))[:-RETAINED]:
        shutil.rmtree(old)


def newest(
    folder: Path, damaged: Callable[[dict[str, Any]], str]
) -> tuple[int, dict[str, Any], list[str]]:
    """(step, counters) of the newest whole checkpoint (0: none), and what is wrong with newer ones.

    `damaged` says what else is wrong with it, given the counters.
    """
    damage: list[str] = []
    for path in sorted(folder.glob("[0-9]*"), reverse=True):
        try:
            manifest = _manifest(path)
            parts, counters = manifest["parts"].items(), manifest["counters"]
            broken = [part for part, checksum in parts if _checksum(path / part) != checksum]
            why = f"is damaged ({broken[0]})" if broken else damaged(counters)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            why = "is damaged (manifest.json)"
        if not why:
            return int(path.name), counters, damage
        damage.append(f"checkpoint {path.name} {why}")
    return 0, {}, damage


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`, as those steps are trained again."""
    for path in folder.glob("[0-9]*"):
        if int(path.name) > step:
            shutil.rmtree(path)


def counters(folder: Path, step: int) -> dict[str, Any]:
    """What the main process counted until this step."""
    found: dict[str, Any] = _manifest(folder / f"{step:09d}")["counters"]
    return found


def load(folder: Path, step: int, tensors: dict[str, Tensor]) -> None:
    """Fill the tensors, in place, with those of the same name in a checkpoint."""
    path = folder / f"{step:09d}"
    missing = set(tensors)
    for part in _manifest(path)["parts"]:
        with safe_open(path / part, "pt") as file:
            for name in missing & set(file.keys()):
                tensors[name].copy_(file.get_tensor(name))
                missing.remove(name)
    if missing:
        raise UserError(f"checkpoint {path.name} in {folder} lacks {min(missing)}")


def _manifest(path: Path) -> dict[str, Any]:
    """Raises ValueError or KeyError where it is not what was written."""
    manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    if manifest.pop("sha256") != _seal(manifest) or manifest["step"] != int(path.name):
        raise ValueError("manifest.json has been changed")
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _part(rank: int) -> str:
    return f"part-{rank}.safetensors"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
