"""One line for an error of Hydra's: the argument, what is wrong with it, and what to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from prsgd.config.choices import PRESETS, choices, known_keys, unknown_choice, unknown_key
from prsgd.errors import why

PLUGINS = {"launcher": ("joblib", "submitit"), "sweeper": ("optuna",)}  # which are extras


def explain(error: Exception, arguments: Sequence[str], folders: Sequence[Path]) -> str:
    """The line for an error that Hydra raised over these arguments.

    `folders` are the user's own, beside conf/.
    """
    message = str(error)
    for argument in arguments:
        if not argument.startswith("-") and "=" in argument and not _is_readable(argument):
            return _unreadable(argument)
    if found := re.search(r"Could not find 'hydra/(launcher|sweeper)/([^']*)'", message):
        return _unknown_plugin(*found.groups())
    if found := re.search(r"Could not find '(hydra/[^']+)/([^'/]*)'", message):
        return f"{found[1]}={found[2]}: Hydra has no such choice"
    if found := re.search(r"Could not find '(\w+/[^']*)'", message):
        group, _, value = found[1].rpartition("/")
        if not choices(group, folders):  # the value has a slash
            group, _, value = found[1].partition("/")
        return unknown_choice(group, value, folders)
    if found := re.search(r"Ambiguous value for argument '([^']+)'", message):
        return f"{found[1]}: several values are a sweep, which needs -m"
    if found := re.search(r"An item is already at '([^']+)'", message):
        return f"+{found[1]}: the key is there already; leave out the +"
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", message):
        if found[1] in PRESETS:
            return f"{found[1]}: say +{found[1]}=NAME, as no {found[1]} is chosen by default"
        if found[1].startswith("hydra."):
            return f"{found[1]}: Hydra has no such key, and no plugin that was chosen has it"
        return unknown_key(found[1], known_keys())
    if found := re.search(r"Error merging override (.+)", message):
        reason = why(error.__cause__ or error)
        return f"{found[1]}: {reason[:1].lower()}{reason[1:]}"
    line = next((line.strip() for line in message.splitlines() if line.strip()), repr(error))
    return f"cannot read the arguments: {line}"


def _unknown_plugin(kind: str, name: str) -> str:
    """The line for a launcher or sweeper that is not installed, or that nobody knows."""
    extra = name.partition("_")[0]
    if extra in PLUGINS[kind]:
        return f"hydra/{kind}={name}: needs a plugin of Hydra's: pip install 'prsgd[{extra}]'"
    known = ", ".join(PLUGINS[kind])
    return f"hydra/{kind}={name}: is not installed here; prsgd was tried with {known}"


def _is_readable(argument: str) -> bool:
    """Whether Hydra's grammar has this override."""
    try:
        OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError):  # ValueError: a number of too many digits
        return False
    return True


def _unreadable(argument: str) -> str:
    """The line for an argument that is not in Hydra's grammar; quotes may be all that it needs."""
    key, _, value = argument.partition("=")
    if digits := re.search(r"\d{1000,}", value):
        return f"{key}: a number of {len(digits[0]):,} digits cannot be read"
    quoted = f"{key}='{value}'"
    if "'" not in value and not value.startswith(("[", "{")) and _is_readable(quoted):
        return f'{argument}: the value has to be quoted twice: "{quoted}"'
    return f"cannot read the arguments: {argument} is not of the form KEY=VALUE"


def with_source(message: str, arguments: Sequence[str]) -> str:
    """The line of a refusal; it names the preset that gave a key which the user did not type.

    Only a key that does not fit is known to have been given: others may have their default.
    """
    if "there is no such key" not in message and "cannot be given here" not in message:
        return message
    key = re.split("[:= ]", message, maxsplit=1)[0]
    typed = [argument.lstrip("+~").partition("=")[0] for argument in arguments]
    presets = [a for a in arguments if a.startswith(tuple(f"+{name}=" for name in PRESETS))]
    if presets and key not in typed:
        return f"{message} ({' or '.join(presets)} sets it)"
    return message
