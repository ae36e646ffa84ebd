"""Fill in the tables and numbers of RESULTS.md and README.md from the records in results/.

    .venv/bin/python scripts/fill_tables.py

A table stands between <!-- KIND PATH ... --> and <!-- end -->. KIND is
`ends` (where each curve of these folders ended, and how far from mini-batch SGD, or `from` others),
`speedup` (steps to the common loss by N), or `copy` (the table of a Markdown file).

A number stands in a sentence, between <!-- KIND PATH ... --> and <!-- -->:

    is FOLDER COLUMN KEY=VALUE ...      where the curve with these values ended; epoch=5: was then
    behind FOLDER COLUMN KEY=VALUE ...  how far from mini-batch SGD that is; or, with a further
                                        from KEY=VALUE ..., from the curve with those values
    faster FOLDER KEY=VALUE ...         how many times fewer steps it took than one worker
    sooner CSV NETWORK INTERVAL         how many times sooner than I = 1 it was there
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import markdown

from prsgd.report.asked import tuned
from prsgd.report.behind import baselines, has, paired
from prsgd.report.curves import Curve, Group, groups
from prsgd.report.declared import full_name
from prsgd.report.points import lines_of
from prsgd.report.runs import load
from prsgd.report.specs import specs
from prsgd.report.tables import common_target, steps_to
from prsgd.report.where import value_in

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "results" / "RESULTS.md")
BEGIN, END = re.compile(r"<!-- \w+ [^>]+ -->\n"), "<!-- end -->"
BLOCK = re.compile(r"(<!-- (\w+) ([^>]+) -->\n)((?!<!-- ).)*?(<!-- end -->)", re.DOTALL)
TEST_IMAGES = {"CIFAR-10 (JPEG)": 10_000, "a fifth of CIFAR-10 (JPEG)": 2_000}
COLUMNS = (("consensus_train_loss", 1, 3), ("test_accuracy", 100, 2))  # scale, digits
NUMBER = re.compile(r"(<!-- (is|behind|faster|sooner) ([^>]+) -->).*?(<!-- -->)")
PROSE = {  # scale, digits
    "consensus_train_loss": (1, 3),
    "train_loss": (1, 2),
    "test_loss": (1, 2),
    "test_accuracy": (100, 1),
    "test_bits_per_byte": (1, 3),
    "round": (1, 0),
    "payload_bytes": (1e-6, 0),
}


def filled(text: str) -> str:
    """The document with its tables as the records have them now."""
    if not len(BEGIN.findall(text)) == text.count(END) == len(BLOCK.findall(text)):
        raise ValueError(f"a table has a beginning and no {END}, or the reverse")
    kinds = {"ends": ends, "speedup": steps, "copy": copied}
    kinds |= {"is": value_of, "behind": behind, "faster": faster, "sooner": sooner}
    text = BLOCK.sub(lambda block: block[1] + kinds[block[2]](*block[3].split()) + block[5], text)
    return NUMBER.sub(lambda own: own[1] + kinds[own[2]](*own[3].split()) + own[4], text)


def value_of(folder: str, column: str, *values: str) -> str:
    """Where a curve ended, or was after an epoch; over several seeds with their deviation."""
    keys = [value for value in values if not value.startswith("epoch=")]
    [epoch] = [value.removeprefix("epoch=") for value in values if value not in keys] or ["inf"]
    curve, (scale, digits) = the_curve(the_group(folder), keys), PROSE[column]
    row = (curve.mean["epoch"] - min(float(epoch), curve.mean["epoch"].max())).abs().argmin()
    middle, spread = (own[column].iloc[row] for own in (curve.mean, curve.deviation))
    return with_error(scale * middle, scale * spread if digits else np.nan, digits)


def behind(folder: str, column: str, *values: str) -> str:
    """How far from mini-batch SGD, or from another curve, a curve ended, on whichever side."""
    group, (own, others) = the_group(folder), parted(values)
    curve, (scale, digits) = the_curve(group, own), PROSE[column]
    baseline = compared_with(curve, group, others)
    told = difference(curve, baseline, column, scale, digits, TEST_IMAGES[group.data])
    return told.lstrip("+−")


def parted(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands before `from` and behind it."""
    place = [*words, "from"].index("from")
    return words[:place], words[place + 1 :]


def compared_with(curve: Curve, group: Group, values: Sequence[str]) -> Curve | None:
    """The curve with these values, or without any mini-batch SGD at the same rate."""
    if not values:
        return minibatch(curve, group)
    return baselines(group, wanted(group, values)).get(curve)


def wanted(group: Group, values: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as full keys and their values."""
    known = {key for curve in group.curves for key in curve.config}
    pairs = [value.partition("=") for value in values]
    return {full_name(key, known): value_in(value) for key, _, value in pairs}


def faster(folder: str, *values: str) -> str:
    """How many times fewer steps than one worker a curve takes to the common loss."""
    group = the_group(folder)
    target = common_target(group)
    alone, own = the_curve(group, ["workers=1"]), the_curve(group, values)
    return f"{steps_to(alone, target) / steps_to(own, target):.1f}"


def sooner(path: str, network: str, interval: str) -> str:
    """How many times sooner than I = 1 an interval is at the common loss, as it was measured."""
    seconds = pd.read_csv(ROOT / path).set_index(["network", "interval"])["measured_seconds"]
    return f"{seconds[network, 1] / seconds[network, int(interval)]:.1f}"


def the_curve(group: Group, values: Sequence[str]) -> Curve:
    """The only curve of a group that has these values of keys."""
    asked = wanted(group, values)
    found = [curve for curve in group.curves if has(curve, asked)]
    if len(found) != 1:
        raise ValueError(f"{' '.join(values)}: not just one curve of {group.folder} is so")
    return found[0]


def ends(*words: str) -> str:
    """A table with a row for each curve, which names its folder where there are several.

    The words are folders, and the values of other baselines than mini-batch SGD at the same rate.
    """
    folders, values = parted(words)
    head = ["run", "seeds", "training loss", "minus mini-batch SGD's"]
    head += ["test accuracy (%)", "minus mini-batch SGD's", "rounds", "sent by a worker (MB)"]
    lines = [head]
    for folder in folders:
        group = the_group(folder)
        for curve in group.curves:
            baseline = compared_with(curve, group, values)
            name = curve.label if len(folders) == 1 else f"{Path(folder).name}, {curve.label}"
            last = curve.mean.iloc[-1]
            line = [name, str(len(curve.runs))]
            for column, scale, digits in COLUMNS:
                spread = scale * curve.deviation[column].iloc[-1]
                line.append(with_error(scale * last[column], spread, digits))
                images = TEST_IMAGES[group.data]
                line.append(difference(curve, baseline, column, scale, digits, images))
            lines.append([*line, f"{last['round']:,.0f}", f"{last['payload_bytes'] / 1e6:,.0f}"])
    return markdown(lines, 1)


def difference(
    curve: Curve, baseline: Curve | None, column: str, scale: float, digits: int, images: int
) -> str:
    """The difference of a curve's end from the baseline's, with its standard error.

    With two seeds or more in common, the error is that of the pairs of equal seeds. With one, and
    for accuracies, it is an upper bound: the error of two independent samples of test images, where
    both curves saw the same ones.
    """
    if baseline is None or curve is baseline:
        return ""
    middle, error = paired(curve, baseline, column)
    if np.isnan(middle):
        return ""
    if np.isnan(error) and column == "test_accuracy":
        shares = [c.mean[column].iloc[-1] for c in (curve, baseline)]
        error = sqrt(sum(p * (1 - p) for p in shares) / images)
    return with_error(scale * middle, scale * error, digits, "+")


def with_error(value: float, error: float, digits: int, sign: str = "") -> str:
    text = f"{value:{sign},.{digits}f}".replace("-", "−")
    return text if np.isnan(error) else f"{text} ± {error:.{digits}f}"


def minibatch(curve: Curve, group: Group) -> Curve | None:
    """The mini-batch SGD that differs from a curve in the method only; None if not just one does.

    PR-SGD with I = 1 is mini-batch SGD, and stands for it where the baseline itself is missing.
    """

    def equal(other: Curve) -> bool:
        averaged = other.config.get("algorithm.momentum_at_sync") == "average"
        plain = averaged or not other.config["momentum"]
        restarts = other.config.get("algorithm.order") == "restart"
        return other.interval == 1 and restarts and plain

    kin = [
        other for other in group.curves if all_but_the_method(other) == all_but_the_method(curve)
    ]
    called = [other for other in kin if other.config["algorithm"] == "minibatch"]
    found = called or list(filter(equal, kin))
    return found[0] if len(found) == 1 else None


def all_but_the_method(curve: Curve) -> dict[str, Any]:
    """Without the keys whose best values were chosen for each method as well."""
    return {
        key: value
        for key, value in curve.config.items()
        if key.partition(".")[0] != "algorithm" and key not in curve.tuned
    }


def steps(folder: str) -> str:
    """A table of a worker's steps to the common loss, with a row for each line of the figure."""
    group = the_group(folder)
    target = common_target(group)
    everyone = sorted({curve.config["workers"] for curve in group.curves})
    lines = [[f"steps to {target:.3g}", *(f"N = {n}" for n in everyone), "slope on log N"]]
    for label, members in lines_of(group, specs(group)["speedup"]).items():
        every = pd.Series({c.config["workers"]: steps_to(c, target) for c in members})
        taken = every.dropna()
        slope = np.polyfit(np.log(taken.index), np.log(taken), 1)[0] if len(taken) > 2 else np.nan
        cells = [f"{taken[n]:,.0f}" if n in taken else "" for n in everyone]
        lines.append([label, *cells, "" if np.isnan(slope) else with_error(slope, np.nan, 2)])
    return markdown(lines, 1)


def copied(path: str) -> str:
    lines = (ROOT / path).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("|"))


@cache
def the_group(folder: str) -> Group:
    runs, left_out = load(ROOT / folder)
    if left_out:
        raise ValueError(f"not finished: {left_out}")
    [group] = tuned(groups(runs), [])
    return group


def main() -> None:
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text()))


if __name__ == "__main__":
    main()
