"""YAML from a run folder: plain data, of a size and a depth that a record can have."""

from __future__ import annotations

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, ten times as fast
MOST_BYTES = 1_000_000
MOST_LEVELS = 20  # of mappings and lists in each other
MOST_ALIASES = 100  # each may stand for many others, and so on


def read_yaml(content: bytes) -> Any:
    """The data in a document. Raises ValueError in one line where it is none, or too much."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    try:
        text = content.decode()
        level = aliases = 0
        for event in yaml.parse(text, LOADER):
            level += isinstance(event, yaml.CollectionStartEvent)
            level -= isinstance(event, yaml.CollectionEndEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if level > MOST_LEVELS or aliases > MOST_ALIASES:
                raise ValueError("it is nested too deeply, or has too many aliases")
        return LOADER(text).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError("it is not valid YAML") from error
