"""A recorded configuration with all its keys, whichever version of prsgd wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from prsgd.config.registry import called, keys_of, known_class
from prsgd.config.schema import GROUPS, Settings, with_groups
from prsgd.fields import default_of


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, where keys that it lacks have their defaults.

    A class of prsgd goes by its `name`, any other by its `_target_`; of that one no default is
    known.
    """
    config = with_groups(config)
    settings = {f.name: config.get(f.name, default_of(f)) for f in fields(Settings)}
    return {**settings, **{group: completed_part(group, config[group]) for group in GROUPS}}


def completed_part(group: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping of one group."""
    cls = known_class(group, spec)
    if cls is None:
        return dict(spec)
    own = {f.name: default_of(f) for f in fields(cls)}
    return {"name": called(group, cls), **own, **keys_of(spec)}
