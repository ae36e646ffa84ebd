"""The figure that the command line asks for: what stands on its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prsgd.errors import UserError
from prsgd.report.curves import Group
from prsgd.report.declared import full_name
from prsgd.report.specs import STEPS, Spec, columns_of, specs


def asked_specs(groups: Sequence[Group], x: str, y: str) -> list[dict[str, Spec]]:
    """For each group the figure of `y`, which may be several, against `x`; the epoch by default.

    A group that lacks one of them has no figure. A `UserError` where every group does.
    """
    wanted = x or "epoch", tuple(filter(None, y.split(",")))
    found = [_asked(group, *wanted) for group in groups]
    if any(found):
        return found
    columns = sorted({name for group in groups for name in columns_of(group)})
    asked = " ".join([f"--x={x}"] * bool(x) + [f"--y={y}"] * bool(y))
    raise UserError(
        f"{asked}: must be columns of metrics.csv; x may be a configuration key, and y then "
        f"{STEPS}; columns are {', '.join(columns)}"
    )


def _asked(group: Group, x: str, ys: Sequence[str]) -> dict[str, Spec]:
    look = specs(group)["curves"]
    columns = columns_of(group)
    of_data = {group.measures.unit: "units"}
    name = f"{'_and_'.join(ys) or 'curves'}_by_{x.replace('.', '_')}"
    x, ys = of_data.get(x, x), tuple(of_data.get(y, y) for y in ys) or look.y
    keys = {key for curve in group.curves for key in curve.config}
    if x in columns - keys and {*ys} <= columns:
        return {name: replace(look, x=x, y=ys, shows_curves=True)}
    key = full_name(x, keys)
    if key in keys and {*ys} <= columns | {STEPS}:
        return {name: Spec(key, ys)}
    return {}
