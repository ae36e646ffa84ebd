"""Pieces of HTML. Whatever stands in a run folder is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from prsgd.console import printable


def safe(text: Any) -> str:
    """A text as HTML shows it, and as an attribute in double quotes may hold it."""
    return escape(printable(str(text)))


def element(tag: str, inner: str, **attributes: str) -> str:
    """An element around HTML. Of attributes `class_` is class, and `data_x` is data-x."""
    own = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{own}>{inner}</{tag}>"


def items(tag: str, inner: Iterable[str]) -> list[str]:
    """An element for each piece of HTML."""
    return [element(tag, one) for one in inner]


def embedded(data: Any) -> str:
    """JSON for a script element, which nothing in it can end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
