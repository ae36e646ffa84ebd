"""How a curve of `prsgd figures` looks in the page, which may be dark."""

from __future__ import annotations

from colorsys import hls_to_rgb, rgb_to_hls
from typing import Any

from matplotlib.colors import to_hex, to_rgb

DASHES = {"-": "", "--": "6 3", ":": "2 3", "-.": "8 3 2 3"}  # SVG's, in pixels
OTHER_DASH = "5 2 2 2 2 2"
SHAPES = {  # matplotlib's marker -> a path within -1 to 1
    "o": "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z",
    "s": "M-.85,-.85H.85V.85H-.85Z",
    "D": "M0,-1.2L1.2,0L0,1.2L-1.2,0Z",
    "^": "M0,-1.1L1.1,.9H-1.1Z",
    "v": "M0,1.1L1.1,-.9H-1.1Z",
    "<": "M-1.1,0L.9,1.1V-1.1Z",
    ">": "M1.1,0L-.9,1.1V-1.1Z",
    "P": "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "X": "M0,-.5L.6,-1.1L1.1,-.6L.5,0L1.1,.6L.6,1.1L0,.5L-.6,1.1L-1.1,.6L-.5,0L-1.1,-.6L-.6,-1.1Z",
    "h": "M0,-1.1L.95,-.55V.55L0,1.1L-.95,.55V-.55Z",
    "*": "M0,-1.3L.35,-.4H1.3L.55,.2L.8,1.1L0,.55L-.8,1.1L-.55,.2L-1.3,-.4H-.35Z",
}
DARK = "#14171c"  # the page's background there, in page.css
CONTRAST = 4.5  # of a curve with it, at least


def look(style: dict[str, Any]) -> dict[str, str]:
    """The colours on light and on dark ground, the dashes and the marker's path."""
    colour = to_hex(style["color"])
    line = style.get("linestyle", "-")
    return {
        "light": colour,
        "dark": on_dark(colour),
        "dash": DASHES.get(line, OTHER_DASH) if isinstance(line, str) else OTHER_DASH,
        "shape": SHAPES[style["marker"]],
    }


def on_dark(colour: str) -> str:
    """The colour, lighter where it could not be told from a dark ground; black is white there."""
    hue, lightness, saturation = rgb_to_hls(*to_rgb(colour))
    if not saturation:
        lightness = max(lightness, 0.95 - lightness)
    while contrast(found := to_hex(hls_to_rgb(hue, lightness, saturation)), DARK) < CONTRAST:
        lightness += 0.01
    return found


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2 has it: 1 to 21."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
