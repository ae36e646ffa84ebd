"""The command that composes a recorded configuration: every key in which conf/ differs from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prsgd.config.choices import conf_dir, files
from prsgd.config.completed import completed, completed_part
from prsgd.config.grammar import in_grammar
from prsgd.config.registry import PATHS, keys_of
from prsgd.config.schema import GROUPS
from prsgd.errors import UserError
from prsgd.plain_yaml import read_yaml

ORDER = ("algorithm", "compression", "data", "task", "model", "schedule")
"""The groups; a choice brings choices of groups that come later."""
OVERRIDE = re.compile(r"override /(\w+)")
IN_DOUBLE_QUOTES = re.compile(r"""[^"\\$`!\n]*'[^"\\$`!\n]*""")
REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Choice:
    """What a file of conf/ says: the keys of its group, and what comes with them."""

    keys: dict[str, Any]
    recipe: dict[str, Any]  # keys of other groups and of none
    choices: dict[str, str]  # of other groups, by group


def command(config: Mapping[str, Any]) -> str:
    """`prsgd train KEY=VALUE ...` for a shell; `UserError` where no choice of conf/ has a class."""
    return " ".join(["prsgd train", *map(_for_shell, overrides(config))])


def _for_shell(word: str) -> str:
    """A word in quotes where a shell needs them; double ones around those of Hydra's."""
    return f'"{word}"' if IN_DOUBLE_QUOTES.fullmatch(word) else shlex.quote(word)


def overrides(config: Mapping[str, Any]) -> list[str]:
    """What `prsgd train` must be told to compose this plain configuration."""
    config = completed(config)
    everything = _read(conf_dir() / "config.yaml")
    usual, top, chosen = dict(everything.choices), dict(everything.recipe), dict[str, Choice]()
    found = []
    for group in ORDER:
        name, chosen[group] = _nearest(group, config[group], usual[group])
        if name != usual[group]:
            found.append(f"{group}={name}")
        usual |= chosen[group].choices
        top |= chosen[group].recipe
    settings = {key: value for key, value in config.items() if key not in GROUPS}
    found += [f"{k}={in_grammar(v)}" for k, v in settings.items() if top.get(k) != v]
    for group, choice in chosen.items():
        there = {**choice.keys, **top.get(group, {})}
        found += _differences(group, config[group], there, settings)
    return found


def _differences(
    group: str, part: Mapping[str, Any], there: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[str]:
    """The keys of a group that are not `there`, where a reference means the value of a setting."""
    default = completed_part(group, {"name": part["name"]})
    for key, value in keys_of(part).items():
        reference = REFERENCE.fullmatch(str(there.get(key)))
        usual = settings[reference[1]] if reference else there.get(key, default[key])
        if value != usual:
            yield f"{'+' * (key not in there)}{group}.{key}={in_grammar(value)}"


def _nearest(group: str, part: Mapping[str, Any], usual: str) -> tuple[str, Choice]:
    """The choice of the same class that has the most of the keys; of equal ones the usual one."""
    path = PATHS[group].get(part.get("name", ""))
    there = {file.stem: _read(file) for file in files(group)}
    fitting = {name: own for name, own in there.items() if own.keys["_target_"] == path}
    if not fitting:
        name = part.get("name", part.get("_target_"))
        raise UserError(f"{group}={name}: conf/ has no such choice, so no command alone makes it")

    def distance(name: str) -> tuple[int, bool]:
        return sum(part.get(k) != v for k, v in fitting[name].keys.items()), name != usual

    name = min(fitting, key=distance)
    return name, fitting[name]


def _read(path: Path) -> Choice:
    """A file of conf/, with those of its own group that it is made of."""
    text = path.read_text(encoding="utf-8")
    body = read_yaml(text.encode())
    keys, choices = dict[str, Any](), dict[str, str]()
    for entry in body.pop("defaults", ()):
        if isinstance(entry, dict):
            [(name, value)] = entry.items()
            override = OVERRIDE.match(name)
            choices[override[1] if override else name] = value
        elif entry != "_self_":
            keys |= _read(path.with_name(f"{entry.partition('@')[0]}.yaml")).keys
    if "@package _global_" in text or path.parent == conf_dir():
        return Choice(keys, body, choices)
    return Choice(keys | body, {}, choices)
