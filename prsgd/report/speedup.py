"""Which runs with different N belong to one line of a speed-up figure."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import isclose, sqrt

from prsgd.cost import theory_interval
from prsgd.report.load import NAMES, TOLD, Group, Series, differences
from prsgd.report.tables import at_target

COROLLARY = "I of Corollary 1"


def lines(group: Group) -> dict[str, list[Series]]:
    """Series by the rule that their γ and I follow as N grows, in order of N.

    γ is that of the fewest workers, or grows with √N or N; I is the same or ⌊T^¼/N^¾⌋, at least 1.
    What one worker averages with itself is the same at any I, and belongs to all rules.
    """
    fewest = min(series.config["workers"] for series in group.series)
    bases = {s.config["lr"] for s in group.series if s.config["workers"] == fewest}
    intervals = sorted({s.interval for s in group.series if s.interval is not None})
    every_interval = [*(f"I = {interval}" for interval in intervals), COROLLARY]
    found: dict[str, list[Series]] = defaultdict(list)
    for series in sorted(group.series, key=lambda s: s.config["workers"]):
        workers, lr = series.config["workers"], series.config["lr"]
        share = workers / fewest
        times = "N" if fewest == 1 else f"(N/{fewest})"
        growths = {"": 1.0, f"√{times}": sqrt(share), times: share}
        rates = [
            f"γ = {base:g}{growth}"
            for growth, factor in growths.items()
            for base in bases
            if isclose(lr, base * factor, rel_tol=0.01)
        ]
        rules = every_interval if _at_any_interval(series) else _interval_rules(series)
        others = differences(group, series, (*TOLD, "workers", "lr"))
        for rate, rule in product(rates, rules):
            found[", ".join(filter(None, [series.algorithm, rate, rule, *others]))].append(series)
    return {
        label: members
        for place, (label, members) in enumerate(found.items())
        if len({series.config["workers"] for series in members}) > 1
        and not any(
            _contains(other, members, earlier=rank < place)
            for rank, other in enumerate(found.values())
        )
    }


def steps_to(series: Series, target: float) -> float:
    """Steps per worker to the loss, between rows; NaN if never, or before the first epoch ended."""
    trained = series.mean[1:]
    if trained["consensus_train_loss"].iloc[0] <= target:
        return float("nan")
    return at_target(trained, "step", target)


def _at_any_interval(series: Series) -> bool:
    reset = series.config["momentum"] and series.config.get("momentum_at_sync") == "reset"
    alone = series.config["workers"] == 1 and series.algorithm == NAMES["PRSGD"]
    return bool(alone and not reset)


def _contains(line: list[Series], other: list[Series], earlier: bool) -> bool:
    """Whether `line` says all that `other` says: it is longer, or as long and comes earlier."""
    inside = all(any(series is own for own in line) for series in other)
    return inside and (len(line) > len(other) or earlier)


def _interval_rules(series: Series) -> list[str]:
    if series.interval is None:
        return [""]
    steps = int(series.mean["step"].iloc[-1])
    of_corollary = max(1, int(theory_interval(series.config["workers"], steps)))
    return [f"I = {series.interval}", *([COROLLARY] if series.interval == of_corollary else [])]
