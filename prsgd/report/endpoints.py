"""What a figure of points says of where a curve ended."""

from __future__ import annotations

from math import isnan

from prsgd.report.behind import baselines, paired
from prsgd.report.columns import column
from prsgd.report.curves import Curve, Group
from prsgd.report.specs import STEPS, Spec
from prsgd.report.tables import common_target, steps_to
from prsgd.report.words import said


class Ends:
    """The last values of a column, what they are apart from others', or the steps to the target."""

    def __init__(self, group: Group, spec: Spec) -> None:
        self.measures = group.measures
        self.target = common_target(group)
        self.minus = spec.minus
        self.baselines = baselines(group, spec.minus) if spec.minus else {}

    def shown(self, curve: Curve, y: str) -> tuple[float, float]:
        """The mean over seeds and the deviation, in the units of the axis.

        Of a difference it is the standard error. Steps to the target are those of the mean curve.
        """
        middle, spread = self.raw(curve, y)
        if y == STEPS:
            return middle, spread
        shown = column(y, curve.runs[0].measures).shown
        return shown(middle), 0.0 if isnan(spread) else shown(spread)

    def raw(self, curve: Curve, y: str) -> tuple[float, float]:
        """The same in the units of metrics.csv."""
        if y == STEPS:
            return steps_to(curve, self.target), 0.0
        if self.minus:
            return paired(curve, self.baselines[curve], y)
        return float(curve.mean[y].iloc[-1]), float(curve.deviation[y].iloc[-1])

    def label(self, y: str) -> str:
        """What stands at the axis."""
        if y == STEPS:
            return f"steps to a loss of {self.target:.3g}"
        label = column(y, self.measures).label
        if not self.minus:
            return label
        return f"{label},\nminus that at {', '.join(said(k, v) for k, v in self.minus.items())}"
