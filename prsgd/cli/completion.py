"""`prsgd completion SHELL`: what makes the Tab key complete commands, keys and choices."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from prsgd.cli.paragraphs import Paragraphs
from prsgd.config.choices import PRESETS, choices, config_dirs, known_keys
from prsgd.config.schema import GROUPS, Settings
from prsgd.errors import UserError

OVERRIDING = ("train", "advise", "data")  # commands that take KEY=VALUE
OPTIONS = ("--dry-run", "--multirun", "--help", "--config-dir")
CHOSEN = "one of "  # how the words of a key begin that has a few values
SCRIPTS = {
    "bash": """\
_prsgd() {
    local line="${COMP_LINE:0:COMP_POINT}" found
    COMPREPLY=()
    while IFS= read -r found; do
        case "${line##* }" in *=*) found="${found#*=}" ;; esac
        case "$found" in *=) ;; *) found="$found " ;; esac
        COMPREPLY+=("$found")
    done < <(prsgd complete "$line")
}
complete -o default -o nospace -F _prsgd prsgd
""",
    "zsh": """\
_prsgd() {
    local -a found
    found=("${(@f)$(prsgd complete "$LBUFFER")}")
    if [[ -z "$found" ]]; then _files; return; fi
    compadd -S '' -- ${(M)found:#*=}
    compadd -- ${found:#*=}
}
compdef _prsgd prsgd
""",
    "fish": """\
complete -c prsgd -a '(prsgd complete (commandline -cp))'
""",
}
HOW = """\
For this shell, and for all later ones:

  source <(prsgd completion bash)             prsgd completion bash >> ~/.bashrc
  source <(prsgd completion zsh)              prsgd completion zsh >> ~/.zshrc
  prsgd completion fish | source
  prsgd completion fish >> ~/.config/fish/config.fish
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prsgd completion",
        description="Print what makes the Tab key complete commands, keys and choices.",
        epilog=HOW,
        formatter_class=Paragraphs,
    )
    parser.add_argument("shell", choices=SCRIPTS, metavar="SHELL", help="bash, zsh or fish")
    print(SCRIPTS[parser.parse_args(arguments).shell], end="")
    return 0


def completed(line: str, commands: Iterable[str]) -> list[str]:
    """What the last word of a line may become; nothing where it may be a file."""
    _, *before, word = ["prsgd", *line.split(" ")[1:]] if " " in line else ["prsgd", ""]
    before = [own for own in before if own]
    if not before:
        return _starting(word, commands)
    if before[0] not in OVERRIDING:
        return []
    key, is_value, value = word.partition("=")
    if not is_value:
        keys = [f"{key}=" for key in known_keys()] + [f"+{preset}=" for preset in PRESETS]
        return _starting(word, OPTIONS if word.startswith("-") else sorted(keys))
    *firsts, last = value.split(",")  # of a sweep
    start = ",".join([*firsts, ""]) if firsts else ""
    try:
        folders = config_dirs(before)
    except UserError:  # of a folder that is not there yet
        folders = []
    return [f"{key}={start}{own}" for own in _starting(last, values(key.lstrip("+"), folders))]


def values(key: str, folders: Sequence[Path] = ()) -> list[str]:
    """The values that a key may have, where these are a few."""
    if key in (*GROUPS, *PRESETS):
        return choices(key, folders)
    for f in fields(Settings):
        allowed = f.metadata["allowed"]
        if f.name == key and allowed.startswith(CHOSEN):
            return list(allowed.removeprefix(CHOSEN).split(", "))
        if f.name == key and allowed == "true or false":
            return ["true", "false"]
    return []


def _starting(word: str, known: Iterable[str]) -> list[str]:
    return [own for own in known if own.startswith(word)]
