"""The summary of one group of runs: Markdown for people, CSV for programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from prsgd.console import printable
from prsgd.measures import Measures
from prsgd.report.curves import Curve, Group
from prsgd.report.tried_words import tried
from prsgd.report.words import is_number, text_of

FORMULA = tuple("=+-@\t\r")  # a spreadsheet computes what begins so


def write_summary(group: Group, folder: Path) -> str:
    """Write summary.csv and summary.md; returns the Markdown."""
    target = common_target(group)
    rows = [summary(curve, target) for curve in group.curves]
    frame = pd.DataFrame(rows)
    frame["run"] = frame["run"].map(inert)
    frame.to_csv(folder / "summary.csv", index=False)
    title = group.measures.main.title
    judged = "accuracies" if title == "accuracy" else title
    text = (
        f"{printable(group.caption)}. Losses and {judged} are those of the average model x̄; "
        "bytes are what one worker sent (+ within its group). The common target is the training "
        f"loss {target:.4g}, reached by interpolation between rows."
    )
    if len(group.machines) > 1:
        text += f" Times do not compare: these runs are of {printable(', '.join(group.machines))}."
    text += "\n\n" + markdown(rows, group.measures)
    if what := tried(group):
        text += f"\n{what}"
    (folder / "summary.md").write_text(text, encoding="utf-8")
    return text


def inert(text: str) -> str:
    """A cell of a CSV file for a text: an apostrophe keeps spreadsheets from computing it."""
    return printable(f"'{text}" if text.startswith(FORMULA) else text)


def common_target(group: Group) -> float:
    """The lowest training loss that every curve reached."""
    return max(float(curve.mean["consensus_train_loss"].min()) for curve in group.curves)


def summary(curve: Curve, target: float) -> dict[str, float | str]:
    """One row: final figures, and the cost of getting to the target loss."""
    last, spread = curve.mean.iloc[-1], curve.deviation.iloc[-1]
    measures = curve.runs[0].measures
    metric = measures.main.column
    return {
        "run": curve.label,
        **_chosen(curve),
        "seeds": len(curve.runs),
        "training_loss": last["consensus_train_loss"],
        "training_loss_std": spread["consensus_train_loss"],
        metric: last[metric],
        f"{metric}_std": spread[metric],
        "rounds": last["round"],
        "megabytes": last["payload_bytes"] / 1e6,
        "group_megabytes": last["group_payload_bytes"] / 1e6,
        "train_seconds": last["train_seconds"],
        "comm_seconds": last["comm_seconds"],
        measures.speed: speed(curve, measures.speed),
        "rounds_to_target": at_target(curve.mean, "round", target),
        "seconds_to_target": at_target(curve.mean, "train_seconds", target),
    }


def _chosen(curve: Curve) -> dict[str, float | str]:
    """The values that were chosen for a curve, and how many were tried."""
    if not curve.search:
        return {}
    values = {key: curve.config[key] for key in curve.tuned}
    plain = {key: v if is_number(v) else inert(text_of(v)) for key, v in values.items()}
    return {**plain, "tried": len(curve.search.trials)}


def speed(curve: Curve, column: str) -> float:
    """All data that the runs of a curve drew, over all the seconds that they trained."""
    frames = [run.metrics for run in curve.runs]
    drawn = sum((m[column] * m["train_seconds"].diff()).sum() for m in frames)
    return float(drawn / sum(m["train_seconds"].iloc[-1] for m in frames))


def at_target(metrics: pd.DataFrame, column: str, target: float) -> float:
    """The value of `column` where the training loss first is at most `target`; NaN if never."""
    losses = metrics["consensus_train_loss"].to_numpy()
    values = metrics[column].to_numpy()
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return float("nan")
    i = reached[0]
    if i == 0:
        return float(values[0])
    share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return float(values[i - 1] + share * (values[i] - values[i - 1]))


def steps_to(curve: Curve, target: float) -> float:
    """A worker's steps to the loss, interpolated between rows.

    NaN if it never gets there, and if it does before the first epoch ends.
    """
    trained = curve.mean[1:]
    if trained["consensus_train_loss"].iloc[0] <= target:
        return float("nan")
    return at_target(trained, "step", target)


def markdown(rows: list[dict[str, float | str]], measures: Measures) -> str:
    """The table as people read it."""
    main = measures.main
    percent = 100 if main.unit == "%" else 1
    digits = 2 if main.unit == "%" else 4
    head = [
        "run",
        "seeds",
        "training loss",
        f"test {main.title} ({main.unit})" if main.unit else f"test {main.title}",
        "rounds",
        "MB sent",
        "time (s)",
        f"{measures.unit}/s",
        "rounds to target",
        "time to target (s)",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        r = {k: v for k, v in row.items() if not isinstance(v, str)}
        lines.append(
            [
                printable(str(row["run"])).replace("|", r"\|"),
                f"{r['seeds']:.0f}",
                _with_spread(r["training_loss"], r["training_loss_std"], 4),
                _with_spread(percent * r[main.column], percent * r[f"{main.column}_std"], digits),
                f"{r['rounds']:,.0f}",
                f"{r['megabytes']:,.4g}"
                + (f" + {r['group_megabytes']:,.4g}" if r["group_megabytes"] else ""),
                f"{r['train_seconds']:,.1f}",
                f"{r[measures.speed]:,.0f}",
                f"{r['rounds_to_target']:,.0f}",
                f"{r['seconds_to_target']:,.1f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _with_spread(value: float, spread: float, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if np.isnan(spread) else f" ± {spread:.{digits}f}")
