"""What a summary says of what was tried: the table of all values, and what is not fair in it."""

from __future__ import annotations

from collections.abc import Sequence

from prsgd.console import printable
from prsgd.measures import Measures
from prsgd.report.curves import Curve, Group
from prsgd.report.trials import Search, Trial, criteria
from prsgd.report.words import called, clear


def tried(group: Group) -> str:
    """A paragraph, a table in Markdown and what to be wary of; empty if nothing was chosen."""
    searches = [(curve, curve.search) for curve in group.curves if curve.search]
    if not searches:
        return ""
    keys = dict.fromkeys(key for _, search in searches for key in search.keys)
    names = ", ".join(called(key) for key in keys)
    by = criteria(group.measures)[searches[0][1].by].title
    lines = [
        ["curve", f"{names} tried: {by} at the end", "best", "seeds"],
        ["---", "---", "---:", "---:"],
    ]
    for curve, search in searches:
        assert search.best.judged
        lines.append(
            [
                printable(group.name(curve, curve.tuned)).replace("|", r"\|"),
                ", ".join(_outcome(search, trial, group.measures) for trial in search.trials),
                _values(search, search.best),
                f"{len(search.best.judged.runs)}",
            ]
        )
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return "\n".join([f"What was tried, the best in bold:\n\n{table}", *_remarks(group, searches)])


def _values(search: Search, trial: Trial) -> str:
    """The values of one trial, as "0.1" or, of several keys, "0.1 and 0.7"."""
    texts = (
        clear(trial.config[key], [other.config[key] for other in search.having(key)])
        for key in search.keys
        if key in trial.config
    )
    return printable(" and ".join(texts)).replace("|", r"\|")


def _outcome(search: Search, trial: Trial, measures: Measures) -> str:
    """What came of one trial, as "0.1: 0.4321"; the best is bold."""
    values = _values(search, trial)
    if trial.has_diverged:
        return f"{values}: diverged"
    if not trial.judged:
        return f"{values}: unfinished"
    text = f"{values}: {criteria(measures)[search.by].shown(search.end(trial))}"
    return f"**{text}**" if trial is search.best else text


def _remarks(group: Group, searches: Sequence[tuple[Curve, Search]]) -> list[str]:
    """The budgets, the edges, the curves without a choice, and those that are missing."""
    budgets = [(group.name(curve, curve.tuned), len(search.trials)) for curve, search in searches]
    found = []
    numbers = {count for _, count in budgets}
    if len(numbers) == 1:
        found.append(f"As many values were tried for each curve: {min(numbers)}.")
    else:
        counts = "; ".join(f"{count} for {name}" for name, count in budgets)
        found.append(
            f"Not as many values were tried for each curve, which is no fair comparison: {counts}."
        )
    edges = [
        f"{group.name(curve, curve.tuned)} at {called(key)} = {search.best.config[key]:g}"
        for curve, search in searches
        for key in search.at_the_edge()
    ]
    without = [curve.label for curve in group.curves if not curve.search]
    if without:
        found.append(f"These have no such key: {'; '.join(without)}.")
    if edges:
        found.append(
            "These are best at the edge of what was tried, and may be better beyond it: "
            f"{'; '.join(edges)}."
        )
    if group.lost:
        found.append(
            "Curves that diverged or are unfinished at every value are not drawn; a run of each: "
            f"{', '.join(group.lost)}."
        )
    return [f"{printable(line)}\n" for line in found]
