"""How far a curve ended from another one that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan, sqrt
from typing import Any

import numpy as np

from prsgd.report.curves import Curve, Group


def paired(curve: Curve, baseline: Curve, column: str) -> tuple[float, float]:
    """The mean difference of where they ended over pairs of equal seeds, and its standard error.

    Both are NaN without a common seed, the error with one.
    """
    mine, theirs = (
        {run.config["seed"]: run.metrics[column].iloc[-1] for run in own.runs}
        for own in (curve, baseline)
    )
    pairs = np.array([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
    if not len(pairs):
        return nan, nan
    error = pairs.std(ddof=1) / sqrt(len(pairs)) if len(pairs) > 1 else nan
    return float(pairs.mean()), float(error)


def baselines(group: Group, values: Mapping[str, Any]) -> dict[Curve, Curve]:
    """The curve with these values that each other curve is compared with.

    It differs in nothing else, but for the keys whose best values were chosen. A curve has none
    where there is not just one.
    """

    def rest(curve: Curve) -> dict[str, Any]:
        left_out = {*values, *curve.tuned}
        return {key: value for key, value in curve.config.items() if key not in left_out}

    def has_them(curve: Curve) -> bool:
        return all(curve.config.get(key) == value for key, value in values.items())

    among = list(filter(has_them, group.curves))
    found = {}
    for curve in group.curves:
        kin = [other for other in among if rest(other) == rest(curve)]
        if len(kin) == 1 and kin[0] is not curve:
            found[curve] = kin[0]
    return found
