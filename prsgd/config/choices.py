"""The files of conf/: which choices there are, and which keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from prsgd.config.schema import GROUPS, Settings
from prsgd.errors import UserError

PRESETS = ("experiment", "method")  # groups that set keys of others, and have no default
ALIASES = {"optimizer": "optimiser"}  # other spelling -> key
MOST_TOLD = 30  # of keys in one line
KEY = re.compile(r"^(\w+):", re.MULTILINE)


def conf_dir() -> Path:
    """conf/, inside the installed package or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def files(group: str, folder: Path | None = None) -> list[Path]:
    """A group's files in natural order, resnet8 before resnet20.

    Files that begin with _ are parts of others and no choices.
    """

    def natural(path: Path) -> list[Any]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]

    found = ((folder or conf_dir()) / group).glob("[!_]*.yaml")
    return sorted(found, key=natural)


def choices(group: str, more: Sequence[Path] = ()) -> list[str]:
    """The names of a group's files in conf/, and in `more` folders like it."""
    return [path.stem for folder in (conf_dir(), *more) for path in files(group, folder)]


def known_keys() -> list[str]:
    """Every key that some configuration has, groups and their keys included."""
    keys = {*ALIASES, *GROUPS, *(f.name for f in fields(Settings))}
    for group in GROUPS:
        for path in (conf_dir() / group).glob("*.yaml"):
            if "@package _global_" not in (text := path.read_text()):
                keys |= {f"{group}.{name}" for name in KEY.findall(text)}
    return sorted(key for key in keys if not key.endswith((".defaults", "._target_")))


def unknown_choice(group: str, value: str, more: Sequence[Path] = ()) -> str:
    """The line that refuses a choice of a group, with the nearest one that exists."""
    allowed = choices(group, more)
    near = difflib.get_close_matches(value, allowed, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{group}={value}: must be one of {', '.join(allowed)}{hint}"


def unknown_key(name: str, known: Sequence[str]) -> str:
    """The line that refuses a key, with the nearest one that exists or those beside it."""
    if name in known:
        return f"{name}: cannot be given here: what was chosen has no such key, or fixes it"
    group, dot, last = name.rpartition(".")
    beside = [key for key in sorted(known) if dot and key.startswith(group + dot)]
    if beside:
        own = [key.removeprefix(group + dot) for key in beside]
        near = [f"{group}.{key}" for key in difflib.get_close_matches(last, own, 1)]
    else:
        near = difflib.get_close_matches(name, known, 1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif beside or len(known) <= MOST_TOLD:
        hint = f"allowed are {', '.join(beside or sorted(known))}"
    else:
        hint = "prsgd train --help lists all keys and choices"
    return f"{name}: there is no such key; {hint}"


def config_dirs(arguments: list[str]) -> list[Path]:
    """The folders that were given as --config-dir."""
    return split_config_dirs(arguments)[0]


def split_config_dirs(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """The folders that were given as --config-dir, and all other arguments."""
    found, rest, words = list[Path](), list[str](), iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in ("--config-dir", "-cd"):
            rest.append(word)
            continue
        folder = value if equals else next(words, "")
        if not folder or not Path(folder).is_dir():
            raise UserError(f"--config-dir={folder}: must be a folder")
        found.append(Path(folder))
    return found, rest
