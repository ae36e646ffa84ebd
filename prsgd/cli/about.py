"""`prsgd train --help KEY`: what is known of one key, or of one choice."""

from __future__ import annotations

import difflib
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from prsgd.cli.help import REFERENCE, choices_of, commented, described, keys, presets
from prsgd.config.choices import ALIASES, PRESETS, conf_dir, files, known_keys
from prsgd.config.schema import GROUPS, Settings
from prsgd.errors import UserError


def about(word: str, folders: Sequence[Path]) -> str:
    """The help of a key, a group, or a choice of a group; `folders` have choices of one's own.

    Raises a UserError where there is nothing of that name.
    """
    name, _, value = word.lstrip("+").partition("=")
    word = value if value and name in (*GROUPS, *PRESETS) else ALIASES.get(name, name)
    parts = [*_of_key(word, folders), *_of_choice(word, folders)]
    if not parts:
        named = [path.stem for group in (*GROUPS, *PRESETS) for path in files(group)]
        near = difflib.get_close_matches(word, [*known_keys(), *named], 1)
        hint = (
            f"did you mean {near[0]}?" if near else "prsgd train --help lists all keys and choices"
        )
        raise UserError(f"{word}: there is no such key; {hint}")
    return "\n\n".join(parts) + "\n"


def _of_key(word: str, folders: Sequence[Path]) -> list[str]:
    if word in GROUPS:
        return ["\n".join([f"{word}=...", *choices_of(word, folders)])]
    if word in PRESETS:
        return ["\n".join([f"+{word}=...", *presets(word)])]
    found = commented(conf_dir() / "config.yaml")
    if word in found:
        value, comment = found[word]
        allowed = [f"  must be {f.metadata['allowed']}" for f in fields(Settings) if f.name == word]
        return ["\n".join([described(f"{word}={value}", comment), *allowed])]
    group, _, _ = word.partition(".")
    of_choices = defaultdict[str, list[str]](list)
    for path in files(group) if group in GROUPS else []:
        if word in (own := keys(path, f"{group}.")):
            of_choices[_line(word, *own[word])].append(path.stem)
    return [
        "\n".join([textwrap.fill(f"{group}={', '.join(names)}", 80), line])
        for line, names in of_choices.items()
    ]


def _line(name: str, value: str, comment: str) -> str:
    """The line of a key of a choice; one without a comment may follow another key."""
    followed = REFERENCE.fullmatch(value)
    as_that = f"as {followed[1]}, unless it is given" if followed else ""
    return described(f"{name}={value}", comment or as_that)


def _of_choice(word: str, folders: Sequence[Path]) -> list[str]:
    found = []
    for group in (*GROUPS, *PRESETS):
        for path in (p for folder in (conf_dir(), *folders) for p in files(group, folder)):
            if path.stem == word:
                plus = "+" if group in PRESETS else ""
                found.append(f"{plus}{group}={word}\n\n{path.read_text().rstrip()}")
    return found
