"""How a configuration key is declared: as a dataclass field that carries all that is known of it.

A field's metadata say which values are allowed, in words (`allowed`) and as a test (`test`), and
whether the key decides a run's curve (`decides_curve`, see `Decides`). The dataclass is the schema
of its configuration group. This module imports nothing of prsgd, so every group may import it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, field
from typing import Any

Decides = bool | Callable[[Mapping[str, Any]], bool]
"""Whether a key decides the curve: always, never, or as the run's top-level keys say.

The predicate is given the run's top-level keys. Only keys that decide the curve are in a run's
name, tell curves apart in figures, and must agree where a run is resumed.
"""


def with_moments(keys: Mapping[str, Any]) -> bool:
    """Whether the optimiser keeps moments, which an averaging may treat in several ways."""
    return bool(keys["optimiser"] == "adamw" or keys["momentum"] > 0)


def merges(keys: Mapping[str, Any]) -> bool:
    """Whether `merge` says anything: there is no progress since a round that is not late."""
    return bool(keys["merge"] != "progress" or keys["delay"])


def decides_curve(f: Field[Any], keys: Mapping[str, Any]) -> bool:
    """Whether field `f` decides the curve of a run with the top-level `keys`."""
    decides: Decides = f.metadata.get("decides_curve", True)
    return bool(decides(keys)) if callable(decides) else decides


def default_of(f: Field[Any]) -> Any:
    """The default value of a dataclass field."""
    return f.default_factory() if callable(f.default_factory) else f.default


def key(
    default: Any,
    allowed: str,
    test: Callable[[Any], bool],
    *,
    decides_curve: Decides = True,
    kw_only: bool = False,
) -> Any:
    """A field with `default` that `test` accepts; `allowed` completes "must be ..."."""
    about = {"allowed": allowed, "test": test, "decides_curve": decides_curve}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=about, kw_only=kw_only)
    return field(default=default, metadata=about, kw_only=kw_only)


def whole(default: int, low: int, **more: Any) -> Any:
    """An integer of at least `low`."""
    return key(default, f"a whole number of at least {low}", lambda v: v >= low, **more)


def positive(default: float, **more: Any) -> Any:
    """A finite number above zero."""
    return key(default, "a number above 0", lambda v: math.isfinite(v) and v > 0, **more)


def fraction(default: float, *, one: bool, **more: Any) -> Any:
    """A number in [0, 1), or in [0, 1] with `one`."""
    words = f"a number from 0 {'to 1' if one else 'up to but not including 1'}"
    return key(default, words, lambda v: 0 <= v < 1 or (one and v == 1), **more)


def share(default: float, **more: Any) -> Any:
    """A number in (0, 1]."""
    return key(default, "a number above 0 and at most 1", lambda v: 0 < v <= 1, **more)


def non_negative(default: float, **more: Any) -> Any:
    """A finite number of at least zero."""
    return key(default, "a number of at least 0", lambda v: math.isfinite(v) and v >= 0, **more)


def wholes(**more: Any) -> Any:
    """A list of integers of at least 1, empty unless given."""
    return key([], "whole numbers of at least 1", lambda v: min(v, default=1) > 0, **more)


def positives(**more: Any) -> Any:
    """A list of numbers above zero, empty unless given."""
    return key([], "numbers above 0", lambda v: min(v, default=1) > 0, **more)


def whole_to_whole(allowed: str) -> Any:
    """A mapping of integers to integers, all of at least 1; empty unless given."""
    return key({}, allowed, lambda v: min([*v, *v.values()], default=1) > 0)


def groups(**more: Any) -> Any:
    """null, or a mapping of integers to integers, all of at least 1."""

    def test(v: Any) -> bool:
        return v is None or min([*v, *v.values()], default=0) > 0

    return key(None, "null or {group size: interval, ...}, as in {2: 4}", test, **more)


def choice(default: str, *choices: str, **more: Any) -> Any:
    """One of a few words."""
    return key(default, "one of " + ", ".join(choices), lambda v: v in choices, **more)


def auto_or_whole(low: int, **more: Any) -> Any:
    """`auto`, or an integer of at least `low`."""

    def test(v: Any) -> bool:
        return v == "auto" or (type(v) is int and v >= low)

    return key("auto", f"auto or a whole number of at least {low}", test, **more)


def auto_or_positive() -> Any:
    """`auto`, or a finite number above zero."""

    def test(v: Any) -> bool:
        return v == "auto" or (type(v) in (int, float) and math.isfinite(v) and v > 0)

    return key("auto", "auto or a number above 0", test)


def text(default: str, allowed: str, **more: Any) -> Any:
    """Any string that is not empty."""
    return key(default, allowed, lambda v: bool(v.strip()), **more)


def flag(default: bool, **more: Any) -> Any:
    """true or false."""
    return key(default, "true or false", lambda v: True, **more)


def share_or_progress(**more: Any) -> Any:
    """A number in [0, 1), or `progress`."""

    def test(v: Any) -> bool:
        return v == "progress" or (type(v) in (int, float) and 0 <= v < 1)

    allowed = "a number from 0 up to but not including 1, or progress"
    return key(0.0, allowed, test, **more)


def momentum_at_sync(**more: Any) -> Any:
    """What an averaging does to the optimiser's moments."""
    return choice("average", "average", "keep", "reset", **more)


def identity_of(cls: type) -> str:
    """A class by its name and where it comes from: prsgd, or the module of somebody else's."""
    module = "prsgd" if cls.__module__.partition(".")[0] == "prsgd" else cls.__module__
    return f"{module}.{cls.__qualname__}"
