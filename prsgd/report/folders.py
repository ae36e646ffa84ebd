"""Where run folders lie: links are followed, loops are not."""

from __future__ import annotations

from pathlib import Path

from prsgd.run_folder import STATES, TABLES

FILES = {"config.yaml", *TABLES, *STATES}  # with one of them a folder is meant to be a run's


def run_folders(root: Path) -> list[Path]:
    """All folders under `root`, and `root` itself, that are a run's, look like it, or are closed.

    A folder that links lead to as well is searched once, under its own name if it lies there.
    """
    found, searched = [], set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found.append(folder)
            continue
        if any(entry.name in FILES for entry in entries):
            found.append(folder)
        place = folder.resolve()
        is_above = place in root.resolve().parents
        if place not in searched and not is_above:
            searched.add(place)
            for entry in filter(_is_folder, entries):
                (links if entry.is_symlink() else folders).append(entry)
    return sorted(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
