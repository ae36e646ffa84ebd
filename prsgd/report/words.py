"""What figures call a key of the configuration and its value."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

SYMBOLS = {"workers": "N", "batch_size": "b", "lr": "γ", "algorithm.interval": "I", "momentum": "β"}


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return type(value) in (int, float)


def by_size(value: Any) -> tuple[float, str]:
    """What values are sorted by: numbers by size, others as texts."""
    return (value, "") if is_number(value) else (0.0, text_of(value))


def called(key: str) -> str:
    """The symbol of a key, or its name without its group."""
    return SYMBOLS.get(key, key.rpartition(".")[2])


def said(key: str, value: Any, among: Iterable[Any] = ()) -> str:
    """A key and its value as figures write them: "γ = 0.1"."""
    return f"{called(key)} = {clear(value, among)}"


def clear(value: Any, among: Iterable[Any]) -> str:
    """A value in a label, in a longer form where a shorter one is that of another value as well."""
    others = [other for other in among if text_of(other) != text_of(value)]
    for form in (short, str):
        if form(value) not in map(form, others):
            return form(value)
    return text_of(value)


def in_full(texts: Mapping[str, str]) -> list[str]:
    """What is said of each key. Keys that would be called alike are written in full."""
    called = {key: text.partition(" = ")[0] for key, text in texts.items()}
    times = Counter(called.values())
    return [
        text if times[called[key]] == 1 else f"{key.removesuffix(called[key])}{text}"
        for key, text in texts.items()
    ]


def raised(power: float) -> str:
    """A power as it stands behind its base: "⁻¹"."""
    return f"{power:g}".translate(str.maketrans("0123456789.-", "⁰¹²³⁴⁵⁶⁷⁸⁹·⁻"))


def text_of(value: Any) -> str:
    """A value as text that can be compared: lists and mappings by what they hold."""
    return json.dumps(value, sort_keys=True)


def short(value: Any) -> str:
    """A value in a label: a class without its package, a list without brackets, 8 digits of 64."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " ".join(map(short, value))
    if re.fullmatch("[0-9a-f]{64}", str(value)):
        return str(value)[:8]
    return str(value).rpartition(".")[2]
