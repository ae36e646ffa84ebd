"""What `prsgd verify --out DIR` keeps: the table as Markdown and CSV, and figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet, lay_out, write
from prsgd.report.style import MARKERS, drawing, interval_colour
from prsgd.theory.checks import CheckResult

ERROR = r"mean of $\Vert\nabla f(\bar{x})\Vert^2$"
SIZE = 4.3, 2.5  # inches
VIRIDIS = mpl.colormaps["viridis"]


def keep(findings: list[CheckResult], out: Path) -> None:
    """claims.md, claims.csv, and for each experiment its numbers and its figure."""
    out.mkdir(parents=True, exist_ok=True)
    lines = ["| claim | statement | measured | verdict |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{f.claim}` | {f.statement.replace('|', chr(92) + '|')} | {f.measured} | "
        f"{'holds' if f.holds else '**fails**'} |"
        for f in findings
    ]
    (out / "claims.md").write_text("\n".join(lines) + "\n")
    columns = ("claim", "statement", "measured", "holds")
    frame = pd.DataFrame([{c: getattr(f, c) for c in columns} for f in findings])
    frame.to_csv(out / "claims.csv", index=False)
    for finding in findings:
        if finding.data:
            data = pd.DataFrame(finding.data)
            data.to_csv(out / f"{finding.claim}.csv", index=False)
            draw(finding.claim, data, out)


def draw(claim: str, data: pd.DataFrame, out: Path) -> None:
    """The figure of one experiment, as PNG and SVG."""
    with drawing():
        mpl.rcParams["text.parse_math"] = True
        figure, axes = plt.subplots(figsize=SIZE)
        FIGURES[claim](axes, data)
        lay_out(figure)
        write(figure, Sheet(out / claim))


def bound(axes: Axes, data: pd.DataFrame) -> None:
    """The measured error of every setting against Theorem 1's bound."""
    low, high = data["measured"].min() / 2, data["bound"].max() * 2
    axes.fill_between([low, high], [low, high], high, color="#eeeeee", linewidth=0)
    axes.plot([low, high], [low, high], "k-", linewidth=1)
    axes.text(0.86, 0.93, "above the bound", transform=axes.transAxes, ha="right")
    for place, (interval, rows) in enumerate(data.groupby("I")):
        axes.scatter(
            *(rows["bound"], rows["measured"]),
            color=interval_colour(int(str(interval))),
            marker=MARKERS[place],
            s=12,
            label=f"I = {interval}",
        )
    axes.set(xscale="log", yscale="log", xlim=(data["bound"].min() / 2, high), ylim=(low, high))
    axes.set(xlabel="Theorem 1's bound", ylabel=ERROR, title=f"{len(data)} settings")
    axes.legend(loc="upper left", ncols=2)


def speedup(axes: Axes, data: pd.DataFrame) -> None:
    """The error over N, a standard deviation of the copies around it, and 1/√N."""
    groups = data.groupby("N")["error"]
    mean, spread = groups.mean(), groups.std()
    ideal = mean.iloc[0] / np.sqrt(mean.index.to_numpy(float))
    axes.errorbar(mean.index, mean, spread, fmt="o", capsize=3, label="I = T$^{1/4}$/N$^{3/4}$")
    axes.plot(mean.index, ideal, "k--", linewidth=1, label="∝ 1/√N")
    _workers(axes, mean.index)
    axes.set(title="P1, identical $f_i$, γ = √N/(L√T)")


def breakdown(axes: Axes, data: pd.DataFrame) -> None:
    """The error over N on P2, whose f_i differ, for several intervals."""
    for place, (interval, rows) in enumerate(data.groupby("I")):
        own = interval == 0
        label = "I = T$^{1/4}$/N$^{3/4}$" if own else f"I = {interval}"
        line: dict[str, Any]
        if own:  # an open marker, as this line nearly coincides with I = 1
            line = {"linestyle": "--", "color": "black", "markersize": 7, "fillstyle": "none"}
        else:
            line = {"color": interval_colour(int(str(interval)))}
        axes.plot(rows["N"], rows["error"], marker=MARKERS[place], label=label, **line)
    _workers(axes, pd.Index(sorted(data["N"].unique())))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(title="P2, different $f_i$, γ = √N/(L√T)")


def falling(axes: Axes, data: pd.DataFrame) -> None:
    """Algorithm 2's error over N T."""
    for place, (workers, rows) in enumerate(data.groupby("N")):
        colour = VIRIDIS(0.9 * place / 3)
        size, label = rows["N"] * rows["T"], f"N = {workers}"
        axes.scatter(size, rows["error"], color=colour, marker=MARKERS[place], s=16, label=label)
    total = np.sort((data["N"] * data["T"]).to_numpy(float))
    middle = np.exp(np.log(data["error"] * np.sqrt(data["N"] * data["T"])).mean())
    axes.plot(total, middle / np.sqrt(total), "k--", linewidth=1, label="∝ 1/√(NT)")
    axes.set(xlabel="N T (gradients of all workers)", ylabel=f"γ-weighted {ERROR}")
    axes.set(title="Algorithm 2 on P1")
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    axes.legend()


def unequal_different(axes: Axes, data: pd.DataFrame) -> None:
    """Algorithm 3's distance to the plain and to the weighted optimum, by round."""
    for column, text, style in (("plain", "Σ $f_i$", "s--"), ("weighted", "Σ $I_i f_i$", "o-")):
        distance = (data["x"] - data[column]).abs()
        axes.plot(data["round"], distance, style, label=f"to the optimum of {text}")
    axes.set(xlabel="communication round", ylabel=r"distance of $\bar{x}$", yscale="log")
    axes.set(title="Algorithm 3 on P2, different $f_i$, $I_i$ = 8, 8, 4, 2")
    axes.legend()


def _workers(axes: Axes, counts: pd.Index[int]) -> None:
    axes.set(xscale="log", yscale="log", xlabel="N (workers)", ylabel=ERROR)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xticks(list(counts), [str(n) for n in counts])
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.legend()


FIGURES: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
    "bound": bound,
    "speedup": speedup,
    "breakdown": breakdown,
    "falling": falling,
    "unequal_different": unequal_different,
}
