"""Who is told of a run while it goes on: its tables, the console, and packages of others."""

from __future__ import annotations

from importlib.util import find_spec

from prsgd.errors import UserError


def refuse_missing(names: list[str]) -> None:
    """A `UserError` for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"tracker={name}: needs the package {name}: pip install 'prsgd[{name}]'"
            )
