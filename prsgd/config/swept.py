"""In which keys runs differ, for tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prsgd.config.naming import curve_config


def swept(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each plain configuration the keys in which they differ, with short names."""
    curves = [curve_config(config) for config in configs]
    keys = dict.fromkeys(key for curve in curves for key in curve)
    values = {key: [_text(curve.get(key, "")) for curve in curves] for key in keys}
    differing = [key for key in keys if len({*values[key]} - {""}) > 1]
    short = [key.rpartition(".")[2] for key in differing]
    names = [s if short.count(s) == 1 else k for s, k in zip(short, differing, strict=True)]
    return [
        {name: values[key][place] for name, key in zip(names, differing, strict=True)}
        for place in range(len(configs))
    ]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
