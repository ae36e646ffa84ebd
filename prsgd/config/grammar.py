"""Values as Hydra's grammar has them. This module imports no Hydra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Integral
from typing import Any

NO_NAMES = ("true", "false", "null", "nan", "inf")  # texts that would be read as other values


def in_grammar(value: Any) -> str:
    """A value of Python's as Hydra's grammar has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(in_grammar, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{in_grammar(own)}' for key, own in value.items())}}}"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, Integral):
        return str(int(value))
    text = str(value)
    is_a_name = re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in NO_NAMES
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return text if is_a_name else f"'{escaped}'"
