"""How far a curve ended from another one that it is compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import nan, sqrt
from typing import Any

import numpy as np

from prsgd.report.curves import Curve, Group
from prsgd.report.words import text_of


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

    def rest(curve: Curve) -> str:
        left_out = {*values, *curve.tuned}
        return text_of({key: own for key, own in curve.config.items() if key not in left_out})

    among = defaultdict[str, list[Curve]](list)
    for curve in group.curves:
        if has(curve, values):
            among[rest(curve)].append(curve)
    kin = {curve: among[rest(curve)] for curve in group.curves}
    return {curve: own[0] for curve, own in kin.items() if len(own) == 1 and own[0] is not curve}


def has(curve: Curve, values: Mapping[str, Any]) -> bool:
    """Whether a curve has these values of keys."""
    return all(curve.config.get(key) == value for key, value in values.items())
