"""Fill in the tables of RESULTS.md and README.md from the records in results/.

    .venv/bin/python scripts/fill_tables.py

A table stands between <!-- KIND PATH ... --> and <!-- end -->. KIND is
`ends` (where each curve of these folders ended, and how far from mini-batch SGD),
`speedup` (steps to the common loss by N), or `copy` (the table of a Markdown file).
"""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import markdown

from prsgd.report import speedup
from prsgd.report.load import NAMES, Group, Series, groups, load
from prsgd.report.tables import common_target

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "results" / "RESULTS.md")
BEGIN, END = re.compile(r"<!-- \w+ [^>]+ -->\n"), "<!-- end -->"
BLOCK = re.compile(r"(<!-- (\w+) ([^>]+) -->\n)((?!<!-- ).)*?(<!-- end -->)", re.DOTALL)
TEST_IMAGES = {"CIFAR-10 (JPEG)": 10_000, "a sixth of CIFAR-10 (JPEG)": 2_000}
COLUMNS = (("consensus_train_loss", 1, 3), ("test_accuracy", 100, 2))  # scale, digits


def filled(text: str) -> str:
    """The document with its tables as the records have them now."""
    if not len(BEGIN.findall(text)) == text.count(END) == len(BLOCK.findall(text)):
        raise ValueError(f"a table has a beginning and no {END}, or the reverse")
    kinds = {"ends": ends, "speedup": steps, "copy": copied}
    return BLOCK.sub(lambda block: block[1] + kinds[block[2]](*block[3].split()) + block[5], text)


def ends(*folders: str) -> str:
    """One row per curve, called by its folder as well where there are several."""
    head = ["run", "seeds", "training loss", "from mini-batch SGD's"]
    head += ["test accuracy (%)", "from mini-batch SGD's", "rounds", "sent by a worker (MB)"]
    lines = [head]
    for folder in folders:
        group = the_group(folder)
        for series in group.series:
            baseline = minibatch(series, group)
            name = series.label if len(folders) == 1 else f"{Path(folder).name}, {series.label}"
            last = series.mean.iloc[-1]
            line = [name, str(len(series.runs))]
            for column, scale, digits in COLUMNS:
                spread = scale * series.deviation[column].iloc[-1]
                line.append(with_error(scale * last[column], spread, digits))
                images = TEST_IMAGES[group.data]
                line.append(difference(series, baseline, column, scale, digits, images))
            lines.append([*line, f"{last['round']:,.0f}", f"{last['payload_bytes'] / 1e6:,.0f}"])
    return markdown(lines, 1)


def difference(
    series: Series, baseline: Series | None, column: str, scale: float, digits: int, images: int
) -> str:
    """From the baseline, with its standard error.

    With two seeds or more that is of the pairs of equal seeds. With one, and for accuracies, it is
    an upper bound: that of two independent samples of test images, where both saw the same ones.
    """
    if baseline is None or series is baseline:
        return ""
    mine, theirs = (
        {run.config["seed"]: scale * run.metrics[column].iloc[-1] for run in s.runs}
        for s in (series, baseline)
    )
    pairs = np.array([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
    if not len(pairs):
        return ""
    error = np.nan
    if len(pairs) > 1:
        error = pairs.std(ddof=1) / sqrt(len(pairs))
    elif column == "test_accuracy":
        shares = [s.mean[column].iloc[-1] for s in (series, baseline)]
        error = scale * sqrt(sum(p * (1 - p) for p in shares) / images)
    return with_error(pairs.mean(), error, digits, "+")


def with_error(value: float, error: float, digits: int, sign: str = "") -> str:
    text = f"{value:{sign}.{digits}f}".replace("-", "−")
    return text if np.isnan(error) else f"{text} ± {error:.{digits}f}"


def minibatch(series: Series, group: Group) -> Series | None:
    """The one mini-batch SGD that is like it in all but the method, or else its equal."""

    def equal(other: Series) -> bool:
        averaged = other.config.get("algorithm.momentum_at_sync") == "average"
        plain = averaged or not other.config["momentum"]
        restarts = other.config.get("algorithm.order") == "restart"
        return other.interval == 1 and restarts and plain

    kin = [
        other for other in group.series if all_but_the_method(other) == all_but_the_method(series)
    ]
    called = [other for other in kin if other.algorithm == NAMES["MiniBatchSGD"]]
    found = called or list(filter(equal, kin))
    return found[0] if len(found) == 1 else None


def all_but_the_method(series: Series) -> dict[str, Any]:
    essence = series.runs[0].essence
    return {key: value for key, value in essence.items() if not key.startswith("algorithm.")}


def steps(folder: str) -> str:
    """Steps per worker to the common loss, a row per line of the speed-up figure."""
    group = the_group(folder)
    target = common_target(group)
    everyone = sorted({series.config["workers"] for series in group.series})
    lines = [[f"steps to {target:.3g}", *(f"N = {n}" for n in everyone), "slope on log N"]]
    for label, members in speedup.lines(group).items():
        every = pd.Series({s.config["workers"]: speedup.steps_to(s, target) for s in members})
        taken = every.dropna()
        slope = np.polyfit(np.log(taken.index), np.log(taken), 1)[0] if len(taken) > 2 else np.nan
        cells = [f"{taken[n]:,.0f}" if n in taken else "" for n in everyone]
        lines.append([label, *cells, "" if np.isnan(slope) else with_error(slope, np.nan, 2)])
    return markdown(lines, 1)


def copied(path: str) -> str:
    lines = (ROOT / path).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("|"))


def the_group(folder: str) -> Group:
    runs, left_out = load(ROOT / folder)
    if left_out:
        raise ValueError(f"not finished: {left_out}")
    [group] = groups(runs)
    return group


def main() -> None:
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text()))


if __name__ == "__main__":
    main()
