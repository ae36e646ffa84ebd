"""What a figure has room for: of many curves the best, and a word on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from prsgd.report.curves import Curve, Group, label_curves

T = TypeVar("T")
MOST = 30  # curves, lines or rows of panels
MOST_POINTS = 400  # of a curve


def shown_of(group: Group) -> Group:
    """The group with as many of its curves as a figure shows."""
    curves, note = best(group.curves, end_of, "curves")
    if not note:
        return group
    note = ", ".join(filter(None, [group.note, note]))
    smaller = replace(group, curves=[Curve(c.runs, search=c.search) for c in curves], note=note)
    label_curves(smaller)
    return smaller


def hint(group: Group) -> str:
    """What is said where figures do not show all; empty if they do."""
    left_out = len(group.curves) - MOST
    if left_out <= 0:
        return ""
    curves = f"{left_out} curves" if left_out > 1 else "curve"
    return (
        f"not drawn: the {curves} that ended with the highest training loss, as a figure "
        f"shows {MOST}; to draw others, link their run folders into a folder of their own"
    )


def best(items: Sequence[T], end: Callable[[T], float], what: str) -> tuple[list[T], str]:
    """Those of the lowest ends that there is room for, in their order, and what captions say."""
    if len(items) <= MOST:
        return [*items], ""
    places = sorted(range(len(items)), key=lambda place: end(items[place]))[:MOST]
    note = f"the {MOST} of {len(items)} {what} that ended with the lowest training loss"
    return [items[place] for place in sorted(places)], note


def end_of(curve: Curve) -> float:
    """The training loss that a curve ended with."""
    return float(curve.mean["consensus_train_loss"].iloc[-1])
