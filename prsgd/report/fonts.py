"""Installed fonts for what matplotlib's own has no glyphs for, as Chinese and Japanese."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"  # comes with matplotlib


def fonts_for(text: str) -> tuple[list[str], str]:
    """The fonts that have what the own one lacks of a text, and the characters that none has."""
    lacking = {ord(character) for character in text if character.isprintable()}
    lacking -= _characters(findfont(OWN))
    found = []
    for name, path in _installed() if lacking else ():
        if has := lacking & _characters(path):
            lacking -= has
            found.append(name)
    return found, "".join(map(chr, sorted(lacking)))


def _installed() -> Iterator[tuple[str, str]]:
    """Upright fonts of a usual weight; macOS has one with a picture of a box for everything."""
    entries: Iterable[Any] = sorted(
        fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)
    )
    for entry in entries:
        if entry.style == "normal" and entry.weight == 400 and "LastResort" not in entry.fname:
            yield entry.name, entry.fname


def _characters(path: str) -> set[int]:
    """What a font can draw; nothing where it has pictures of one size, or cannot be read."""
    try:
        font = FT2Font(path)
        return {*font.get_charmap()} if font.scalable else set()
    except (OSError, RuntimeError):
        return set()
