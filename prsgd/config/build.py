"""A plain mapping becomes a `Run`, or is refused in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.streamed import PLAIN
from prsgd.config.choices import ALIASES, choices, unknown_key
from prsgd.config.registry import PATHS, called, keys_of, known_class
from prsgd.config.schema import GROUPS, Run, Settings, with_groups
from prsgd.distributed.compression import KINDS, Lossy
from prsgd.errors import UserError, why

T = TypeVar("T")


def build_run(raw: Mapping[str, Any], trusted: list[str] | None = None) -> Run:
    """The run that a composed, plain configuration describes; `UserError` if there is none.

    Its classes are prsgd's or those of a package in `plugins`. A configuration that was found in a
    run folder may name only `trusted` packages.
    """
    raw = with_groups(raw)
    _refuse_interpolations(raw)
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
    for contradiction in _contradictions(run):
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


def _contradictions(run: Run) -> Iterator[str]:
    """What keys say against each other."""
    if run.processes != "auto" and run.processes > run.workers:
        yield (
            f"processes={run.processes}: must be auto or at most workers={run.workers}: "
            "a process hosts one worker or more"
        )
    if run.start == "auto" and run.start_sha256 != "auto":
        yield f"start_sha256={run.start_sha256}: needs start"
    if run.nesterov and not run.momentum:
        yield "nesterov=true: needs momentum above 0"
    if run.optimiser == "adamw" and run.momentum:
        yield f"momentum={run.momentum}: must be 0 with optimiser=adamw; it has its betas"
    if run.algorithm.needs_plain_sgd and run.moments:
        yield (
            f"algorithm={run.algorithm.name}: corrects steps of plain SGD; it needs optimiser=sgd "
            "and momentum=0"
        )
    if run.speeds and len(run.speeds) != run.workers:
        yield (
            f"speeds={run.speeds}: must be empty or a number for each of the {run.workers} workers"
        )
    yield from _unstreamed(run)
    yield from _misfits(run)
    if run.batch_size % run.accumulate:
        yield f"accumulate={run.accumulate}: must divide batch_size={run.batch_size}"
    if problem := run.algorithm.check(run.workers):
        yield f"algorithm={run.algorithm.name}: {problem}"


def _unstreamed(run: Run) -> Iterator[str]:
    """What methods, and the moments of optimisers, cannot have in fragments or late."""
    name = called("algorithm", type(run.algorithm))
    for key, plain in PLAIN.items():
        asked, own = getattr(run, key), getattr(run.algorithm, key, plain)
        if asked != own:
            yield (
                f"{key}={asked}: must be {own} with algorithm={name}"
                if key in vars(run.algorithm)
                else f"{key}={asked}: algorithm={name} is not made of rounds that have {key}"
            )
    at_sync = getattr(run.algorithm, "momentum_at_sync", "keep")
    if run.delay and run.moments and at_sync != "keep":
        yield (
            f"momentum_at_sync={at_sync}: must be keep with delay={run.delay}; moments that arrive "
            "late would undo steps"
        )
    if run.fragments > 1 and run.optimiser == "adamw" and at_sync == "reset":
        yield (
            f"momentum_at_sync=reset: must be keep or average with fragments={run.fragments} and "
            "optimiser=adamw, which counts its steps for all parameters together"
        )


def _misfits(run: Run) -> Iterator[str]:
    """What the choices of groups say against each other."""
    task, data = called("task", type(run.task)), called("data", type(run.data))
    if task not in run.data.tasks and task in PATHS["task"]:
        serves = f"task={', '.join(run.data.tasks)}" if run.data.tasks else "tasks of its own"
        yield f"data={data}: serves {serves}, not task={task}"
    if not isinstance(run.data, run.task.learns_from):
        yield f"data={data}: is no {run.task.learns_from.__name__}, from which task={task} learns"
    for group, problem in (("data", run.data.check()), ("model", run.model.check())):
        if problem:
            yield f"{group}.{problem}"
    if not isinstance(run.compression, KINDS):
        kinds = ", ".join(kind.__name__ for kind in KINDS)
        yield f"compression: {type(run.compression).__name__} must be a subclass of one of {kinds}"
    if isinstance(run.compression, Lossy) and not run.algorithm.has_reference:
        yield (
            f"compression={called('compression', type(run.compression))}: must be none with "
            f"algorithm={run.algorithm.name}, whose groups have no point that all workers know"
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
