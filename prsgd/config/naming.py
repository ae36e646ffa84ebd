"""The name of a run's folder, which is made of what decides the run's curve.

The same command finds its run again by this name, on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from prsgd.config.registry import called, keys_of, known_class
from prsgd.config.schema import GROUPS, NAMELESS, Run, Settings, with_groups
from prsgd.errors import UserError
from prsgd.fields import decides_curve, default_of, identity_of

UNNAMED_PRECISION = "fp32"  # a name has the precision that `auto` came to, unless it is this
LONGEST_NAME = 255  # bytes of a folder's name


def curve_config(
    config: Mapping[str, Any], classes: Mapping[str, type | None] | None = None
) -> dict[str, Any]:
    """The keys of a plain configuration that decide its curve: {"lr": 0.1, "model.depth": 20, ..}.

    A key that the configuration lacks has its default. `classes` are those of the groups; without
    them the class of a plugin is unknown, and then all its keys count.
    """
    config = with_groups(config)
    classes = classes or {group: known_class(group, config[group]) for group in GROUPS}
    keys = {f.name: config.get(f.name, default_of(f)) for f in fields(Settings)}
    curve = {f.name: keys[f.name] for f in fields(Settings) if decides_curve(f, keys)}
    for group in GROUPS:
        curve |= _group_curve(group, config[group], classes[group], keys)
    if getattr(classes["algorithm"], "owns_lr", False):
        unread = [name for name in curve if name.partition(".")[0] in ("lr", "schedule")]
        curve = {name: value for name, value in curve.items() if name not in unread}
    return curve


def _group_curve(
    group: str, spec: Mapping[str, Any], cls: type | None, keys: Mapping[str, Any]
) -> dict[str, Any]:
    own = keys_of(spec)
    if cls is not None:
        own = {
            f.name: own.get(f.name, default_of(f)) for f in fields(cls) if decides_curve(f, keys)
        }
    name = called(group, cls) if cls else spec["_target_"]
    return {group: name, **{f"{group}.{key}": value for key, value in own.items()}}


def identity(run: Run, precision: str, fingerprint: str) -> dict[str, Any]:
    """What the hash in a run's name is made of: the data's fingerprint, and what is not a default.

    `precision` is what `auto` came to.
    """
    parts = {group: getattr(run, group) for group in GROUPS}
    classes = {group: type(part) for group, part in parts.items()}
    curve = curve_config({**run.as_dict(), "precision": precision}, classes)
    defaults = {f.name: default_of(f) for f in fields(Settings)} | {"precision": UNNAMED_PRECISION}
    defaults |= NAMELESS
    for group, cls in classes.items():
        defaults |= {f"{group}.{f.name}": default_of(f) for f in fields(cls)}
    values = {name: v for name, v in curve.items() if name not in defaults or v != defaults[name]}
    return {"fingerprint": fingerprint, **values}


def run_name(run: Run, precision: str, fingerprint: str) -> str:
    """The run folder's name, such as `prsgd-I8-N4-s0-1a2b3c4d`; `UserError` if it is too long."""
    return _named(run, identity(run, precision, fingerprint))


def run_name_of_version_1(run: Run, precision: str) -> str:
    """The name that version 0.1 gave this run, which dropped the remainder of each epoch."""
    found = identity(run, precision, "")
    classes = {group: type(getattr(run, group)) for group in GROUPS if group in found}
    values = {key: found[key] for key in found.keys() - {"fingerprint", "remainder", *GROUPS}}
    values |= {
        f"{group}._target_": identity_of(cls).removeprefix("prsgd.")
        for group, cls in classes.items()
    }
    return _named(run, {"data": run.data.fingerprint_of_version_1(), **values})


def _named(run: Run, identity: Mapping[str, Any]) -> str:
    values = json.dumps(identity, sort_keys=True)
    interval = getattr(run.algorithm, "interval", None)
    parts = [
        run.algorithm.name,
        *([f"I{interval}"] if interval is not None else []),
        f"N{run.workers}",
        f"s{run.seed}",
        hashlib.sha256(values.encode()).hexdigest()[:8],
    ]
    name = "-".join(parts)
    if (size := len(name.encode())) > LONGEST_NAME:
        raise UserError(
            f"{name[:40]}...: the run's name has {size} bytes, and a folder's can have at most "
            f"{LONGEST_NAME}; it must have a shorter algorithm's name or a smaller seed"
        )
    return name
