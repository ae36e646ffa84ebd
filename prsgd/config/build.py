"""A plain mapping becomes a `Run`, or is refused in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prsgd.algorithms.base import Algorithm
from prsgd.config.choices import ALIASES, choices, unknown_key
from prsgd.config.contradictions import contradictions
from prsgd.config.registry import keys_of, known_class
from prsgd.config.schema import GROUPS, Run, Settings, with_groups
from prsgd.errors import UserError, why

T = TypeVar("T")


def build_run(raw: Mapping[str, Any], trusted: list[str] | None = None) -> Run:
    """The run that a composed, plain configuration describes; `UserError` if there is none.

    Its classes are prsgd's or those of a package in `plugins`. A configuration that was found in a
    run folder may name only `trusted` packages.
    """
    raw = with_groups(raw)
    _refuse_interpolations(raw)
    _refuse_contrary_aliases(raw)
    rest = {ALIASES.get(name, name): raw[name] for name in raw if name not in GROUPS}
    settings = build_dataclass(Settings, rest, "", [f.name for f in fields(Settings)] + [*GROUPS])
    for plugin in settings.plugins:
        if trusted is not None and plugin not in trusted:
            raise UserError(
                f"it runs code of the package {plugin}: if you trust that, say plugins=[{plugin}]"
            )
    if settings.plugins and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    parts = {
        group: _build_part(group, base, raw.get(group), settings.plugins)
        for group, base in GROUPS.items()
    }
    run = Run(**vars(settings), **parts)
    for contradiction in contradictions(run):
        raise UserError(contradiction)
    return run


def _refuse_interpolations(value: Any, where: str = "") -> None:
    """A configuration is resolved where it is composed, and nowhere else."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_interpolations(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list):
        for inner in value:
            _refuse_interpolations(inner, where)
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{where}={value}: must be plain; ${{...}} is resolved in conf/ only")


def _refuse_contrary_aliases(raw: Mapping[str, Any]) -> None:
    """A file may say an alias where the command line, or conf/, says the key itself."""
    for alias, key in ALIASES.items():
        if alias in raw and raw.get(key, raw[alias]) != raw[alias]:
            raise UserError(
                f"{alias}={raw[alias]}: {key}={raw[key]} says otherwise; write {key} in place of "
                f"{alias} in the file"
            )


def build_dataclass(cls: type[T], values: Mapping[str, Any], where: str, known: list[str]) -> T:
    """An instance of the dataclass `cls` with `values`, each converted and checked.

    Errors name a key as `where` + its name; `known` are the names that a misspelt one may mean.
    """
    allowed = {
        f.name: f.metadata.get("allowed", f"of type {getattr(f.type, '__name__', f.type)}")
        for f in fields(cls)  # type: ignore[arg-type]
    }
    try:
        schema = OmegaConf.structured(cls)
    except OmegaConfBaseException as error:
        raise UserError(
            f"{where}_target_: {cls.__name__} has a field of a type that no yaml has"
        ) from error
    except NameError as error:  # of a plugin's annotation
        raise UserError(
            f"{where}_target_: the annotations of {cls.__name__} cannot be read ({why(error)}); "
            "what they name must be imported"
        ) from error
    for name, value in values.items():
        if name not in allowed:
            raise UserError(unknown_key(f"{where}{name}", [f"{where}{key}" for key in known]))
        try:
            schema[name] = value
        except (OmegaConfBaseException, OverflowError) as error:
            raise UserError(f"{where}{name}={value}: must be {allowed[name]}") from error
    for name, words in allowed.items():
        if OmegaConf.is_missing(schema, name):
            raise UserError(f"{where}{name} is required: {words}")
    _test_values(cls, OmegaConf.to_container(schema), where)
    try:
        instance: T = OmegaConf.to_object(schema)  # type: ignore[assignment]
    except ValueError as error:  # raised by a plugin's class
        raise UserError(f"{where}_target_: {cls.__name__} refuses its keys: {error}") from error
    return instance


def _test_values(cls: type, values: Any, where: str) -> None:
    for f in fields(cls):
        value = values[f.name]
        if "test" in f.metadata and not f.metadata["test"](value):
            raise UserError(f"{where}{f.name}={value}: must be {f.metadata['allowed']}")


def _build_part(group: str, base: type, spec: Any, plugins: list[str]) -> Any:
    """The instance that a group's mapping describes."""
    if not isinstance(spec, Mapping) or not {"name", "_target_"} & {*spec}:
        raise UserError(f"{group}={spec}: must be one of {', '.join(choices(group))}")
    cls = known_class(group, spec) or _class_at(group, base, spec, plugins)
    if base is Algorithm and not re.fullmatch(r"\w+", getattr(cls, "name", "")):
        raise UserError(
            f"{group}._target_={spec['_target_']}: the class needs a name of letters, digits and _"
        )
    return build_dataclass(cls, keys_of(spec), f"{group}.", [f.name for f in fields(cls)])


def _class_at(group: str, base: type, spec: Mapping[str, Any], plugins: list[str]) -> Any:
    """The class at `_target_`, if it may be used for this group."""
    if "name" in spec:
        raise UserError(f"{group}.name={spec['name']}: this version of prsgd has no such {group}")
    target = str(spec["_target_"])
    cls = _imported(target) if target.partition(".")[0] in ("prsgd", *plugins) else None
    if cls is None or not issubclass(cls, base) or getattr(cls, "__abstractmethods__", None):
        raise UserError(
            f"{group}._target_={target}: must be a class of prsgd, or of a package in plugins, for "
            "this group"
        )
    return cls


def _imported(target: str) -> type | None:
    module, _, name = target.rpartition(".")
    if not module:
        return None
    try:
        found = getattr(import_module(module), name, None)
    except (Exception, SystemExit) as error:
        if module.startswith("prsgd."):
            return None
        raise UserError(f"{target} cannot be imported ({type(error).__name__}: {error})") from error
    return found if isinstance(found, type) else None
