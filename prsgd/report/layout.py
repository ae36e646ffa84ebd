"""How the curves of a group stand in a figure, so that no panel shows more than one can tell apart.

Where colours say one thing and line styles another, the legend explains both once. More than eight
curves in a panel are parted into rows of panels where colours part them evenly; or else the best
eight stand in front of the others, which are grey.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prsgd.report.curves import Curve, Group, value_of, values_of
from prsgd.report.room import end_of
from prsgd.report.specs import Spec
from prsgd.report.style import (
    BEHIND,
    MARKERS,
    colours_of,
    look_keys,
    styles,
    without_baselines,
)
from prsgd.report.words import called, clear, said

MOST_IN_PANEL = 8  # curves
MOST_PARTS = 6  # rows of panels that curves are parted into
OF_ANY_COLOUR = "#555555"

Row = tuple[str, Sequence[Curve]]
Looks = dict[str, dict[str, Any]]


@dataclass
class Layout:
    """The rows of panels, with their titles; the name of each curve, and the look of each name."""

    rows: list[Row]
    names: dict[Curve, str]
    looks: Looks
    legend: Looks = field(default_factory=dict)  # its entries, where those are not the names

    def look(self, curve: Curve) -> dict[str, Any]:
        """How a curve is drawn."""
        return {"label": self.names[curve], **self.looks[self.names[curve]]}

    def is_behind(self, curve: Curve) -> bool:
        """Whether a curve is one of the grey ones."""
        return self.looks[self.names[curve]] is BEHIND


@dataclass
class Factors:
    """Two things that tell curves apart: one that colours say, and one that line styles say."""

    coloured: dict[Curve, str]
    styled: dict[Curve, str]
    style_key: str

    @property
    def colours(self) -> list[str]:
        return [*dict.fromkeys(self.coloured.values())]

    @property
    def styles(self) -> list[str]:
        return [*dict.fromkeys(self.styled.values())]


def layout(
    group: Group,
    spec: Spec,
    curves: Sequence[Curve] | None = None,
    in_front: Collection[Curve] = (),
    may_part: bool = True,
) -> Layout:
    """The layout of a group's curves, or of some of them.

    Those `in_front` are never grey. Without `may_part` there is one row, as spec.panels is empty.
    """
    curves = group.curves if curves is None else curves
    names, looks = names_and_looks(group, spec)
    found = Layout(rows_of(curves, spec.panels), names, looks)
    is_full = max(len({names[c] for c in row}) for _, row in found.rows) > MOST_IN_PANEL
    factors = _factors(group, spec, names)
    if is_full and factors and may_part and not spec.panels:
        parts = len(factors.colours), len(factors.styles)
        if parts[0] <= MOST_PARTS and parts[1] <= MOST_IN_PANEL:
            return _parted(found, factors, curves)
    if is_full:
        return _with_some_in_front(found, spec, in_front)
    return _explained(found, factors) if factors else found


def names_and_looks(group: Group, spec: Spec) -> tuple[dict[Curve, str], Looks]:
    """The name of each curve in a legend, and the look of each name.

    Curves that differ only in what tells the rows of panels apart have the same name.
    """
    names = names_without(group, {spec.panels})
    firsts = _firsts(names)
    return names, dict(zip(firsts, styles([*firsts.values()], spec), strict=True))


def names_without(group: Group, keys: Collection[str]) -> dict[Curve, str]:
    """The name of each curve without keys that stand elsewhere.

    Curves that then have one name share the values that were chosen for them: in the order of the
    curves "PR-SGD, γ = 0.1 / 0.2", or "PR-SGD, γ = 0.1" if they are the same.
    """
    alike: dict[str, list[Curve]] = defaultdict(list)
    for curve in group.curves:
        alike[group.name(curve, {*keys, *curve.tuned})].append(curve)
    found: dict[Curve, str] = {}
    for name, curves in alike.items():
        tuned = [key for key in curves[0].tuned if key not in keys]
        chosen = [_chosen(key, curves) for key in tuned]
        found |= dict.fromkeys(curves, ", ".join([name, *chosen]))
    return {curve: found[curve] for curve in group.curves}


def rows_of(curves: Sequence[Curve], key: str) -> list[Row]:
    """The title and the curves of each row; curves without the key stand in all rows."""
    values = values_of([curve for curve in curves if key in curve.config], key)
    rows: list[Row] = []
    for text, value in values.items():
        of_row = [c for c in curves if key not in c.config or value_of(c, key) == text]
        is_method = key == "algorithm"
        title = of_row[0].method if is_method else said(key, value, values.values())
        rows.append((title, of_row))
    return rows or [("", curves)]


def _firsts(names: Mapping[Curve, str]) -> dict[str, Curve]:
    """The first curve of each name."""
    firsts: dict[str, Curve] = {}
    for curve, name in names.items():
        firsts.setdefault(name, curve)
    return firsts


def _chosen(key: str, curves: Sequence[Curve]) -> str:
    values = [curve.config[key] for curve in curves if key in curve.config]
    texts = [clear(value, values) for value in values]
    return f"{called(key)} = {' / '.join(texts if len({*texts}) > 1 else texts[:1])}"


def _factors(group: Group, spec: Spec, names: Mapping[Curve, str]) -> Factors | None:
    """What colours say and what line styles say, where that is all that tells curves apart.

    There are none where the names of all curves would be a shorter legend.
    """
    firsts = _firsts(names)
    rest = without_baselines([*firsts.values()])
    colour_key, style_key = look_keys(rest, spec)
    drawn = [curve for curve in group.curves if firsts[names[curve]] in rest]
    if not style_key or any(style_key not in curve.config for curve in drawn):
        return None
    values = [curve.config[style_key] for curve in drawn]
    factors = Factors(
        {c: group.name(c, {spec.panels, style_key, *c.tuned}) for c in drawn},
        {c: said(style_key, c.config[style_key], values) for c in drawn},
        style_key,
    )
    by_colour = {(value_of(c, colour_key), factors.coloured[c]) for c in drawn}
    colours = {value_of(c, colour_key) for c in drawn}
    is_one_to_one = len(by_colour) == len(colours) == len(factors.colours)
    pairs = {(factors.coloured[c], factors.styled[c]) for c in drawn}
    is_shorter = len(factors.colours) + len(factors.styles) < len(pairs)
    return factors if is_one_to_one and is_shorter and len(pairs) == len(rest) else None


def others_of(count: int) -> str:
    """What a legend calls the grey curves."""
    return f"{count} other{'s' * (count > 1)}"


def _explained(plain: Layout, factors: Factors) -> Layout:
    """The same curves with a legend that explains colours and line styles one after the other."""
    looks = dict(plain.looks)
    baselines = [name for curve, name in plain.names.items() if curve not in factors.coloured]
    legend = {name: looks[name] for name in baselines}
    for curve, styled in factors.styled.items():
        name = plain.names[curve]
        looks[name] = {
            **looks[name],
            "marker": MARKERS[factors.styles.index(styled) % len(MARKERS)],
        }
        legend.setdefault(factors.coloured[curve], {"color": looks[name]["color"]})
    for styled, curve in _firsts(factors.styled).items():
        legend[styled] = {**looks[plain.names[curve]], "color": OF_ANY_COLOUR}
    return replace(plain, looks=looks, legend=legend)


def _parted(plain: Layout, factors: Factors, curves: Sequence[Curve]) -> Layout:
    """A row of panels for each colour, in which colours say what line styles said."""
    first = _firsts(factors.styled)
    colours = colours_of([*first.values()], factors.style_key)
    baselines = [name for curve, name in plain.names.items() if curve not in factors.styled]
    looks = {name: plain.looks[name] for name in baselines}
    for place, (name, curve) in enumerate(first.items()):
        colour = colours[value_of(curve, factors.style_key)]
        looks[name] = {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
    rows: list[Row] = [
        (title, [c for c in curves if factors.coloured.get(c, title) == title])
        for title in factors.colours
    ]
    return Layout(rows, {**plain.names, **factors.styled}, looks)


def _with_some_in_front(plain: Layout, spec: Spec, in_front: Collection[Curve]) -> Layout:
    """The best eight curves in colours, and the others grey behind them."""
    names = {curve: plain.names[curve] for _, row in plain.rows for curve in row}
    firsts = _firsts(names)
    kept = {*firsts.values()} - {*without_baselines([*firsts.values()])}

    def rank(name: str) -> tuple[bool, bool, float]:
        curves = [curve for curve, own in names.items() if own == name]
        return not {*curves} & {*in_front}, not {*curves} & kept, min(map(end_of, curves))

    front = {*sorted(firsts, key=rank)[:MOST_IN_PANEL]}
    shown = {name: curve for name, curve in firsts.items() if name in front}
    others = others_of(len(firsts) - len(front))
    looks = dict(zip(shown, styles([*shown.values()], spec), strict=True))
    named = {curve: name if name in front else others for curve, name in names.items()}
    return Layout(plain.rows, named, {**looks, others: BEHIND})
