"""Time to a loss on slow networks, measured, beside what the ring model says.

    sudo .venv/bin/python scripts/network.py            # trains what is missing: half an hour
    .venv/bin/python scripts/network.py --table         # from the records only

N = 4 workers in four network namespaces of this machine, whose links carry 100 Mbit/s and 1 Gbit/s
(scripts/slow_network.sh), conf/experiment/network.yaml. The prediction is T (t_c + T_round / I),
where T are the steps that the run took to the loss, t_c a step as measured in the same namespaces
before, and T_round the ring's, with the link's nominal bandwidth and the latency measured there.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from measure import markdown, run

from prsgd.report.curves import groups
from prsgd.report.runs import load, load_run
from prsgd.report.scales import powers_of_two
from prsgd.report.sheet import Sheet, finish
from prsgd.report.style import MARKERS, drawing
from prsgd.report.tables import at_target

OUT = Path("results/network")
RATES = {"100mbit": 100, "1gbit": 1000}  # Mbit/s
INTERVALS = (1, 4, 16)
HOSTS = 4


def on_network(rate: str, *arguments: str) -> str:
    """What a prsgd command prints in the namespaces."""
    script = Path(__file__).parent / "slow_network.sh"
    command = ["sh", str(script), rate, str(HOSTS), *arguments]
    output, _ = run(command, {"PYTHON": sys.executable}, ".")
    return output


def train() -> None:
    """Train what is not there yet."""
    for rate, mbit in RATES.items():
        keys = ["+experiment=network", f"out={OUT / rate}"]
        if not (OUT / rate / "costs.csv").exists():
            text = on_network(rate, "advise", "--calibrate", f"--bandwidth-mbit={mbit}", *keys)
            step, averaging = re.search(
                r"a step ([\d.]+) ms, an averaging ([\d.]+) ms", text
            ).groups()
            (OUT / rate).mkdir(parents=True, exist_ok=True)
            costs = pd.DataFrame({"step_ms": [float(step)], "averaging_ms": [float(averaging)]})
            costs.to_csv(OUT / rate / "costs.csv", index=False)
        for interval in INTERVALS:
            on_network(rate, "train", *keys, f"interval={interval}")
            print(f"{rate}, I = {interval}: done", flush=True)


def table() -> None:
    """Write network.csv, network.md and the figure."""
    runs = {
        (rate, record.config["algorithm.interval"]): record.metrics[1:]
        for rate in RATES
        for record in (load_run(path.parent) for path in sorted((OUT / rate).glob("*/config.yaml")))
    }
    target = max(metrics["consensus_train_loss"].min() for metrics in runs.values())
    rows = []
    for (rate, interval), metrics in sorted(runs.items()):
        costs = pd.read_csv(OUT / rate / "costs.csv").iloc[0]
        steps = at_target(metrics, "step", target)
        predicted = steps * (costs["step_ms"] + costs["averaging_ms"] / interval) / 1000
        measured = at_target(metrics, "train_seconds", target)
        rows.append(
            {
                "network": rate,
                "interval": interval,
                "steps": steps,
                "measured_seconds": measured,
                "predicted_seconds": predicted,
                "error": predicted / measured - 1,
            }
        )
    frame = pd.DataFrame(rows)
    frame.to_csv(OUT / "network.csv", index=False)
    lines = [["network", "I", "steps to the loss", "measured (s)", "predicted (s)", "error"]]
    for row in frame.itertuples():
        cells = [called(row.network), str(row.interval), f"{row.steps:,.0f}"]
        cells += [f"{row.measured_seconds:.0f}", f"{row.predicted_seconds:.0f}"]
        lines.append([*cells, f"{row.error:+.0%}".replace("-", "−")])
    [of_one_rate] = groups(load(OUT / next(iter(RATES)))[0])
    heading = f"Time to a training loss of {target:.4g}, {of_one_rate.caption}, {HOSTS} hosts"
    (OUT / "network.md").write_text(f"{heading}.\n\n{markdown(lines, 1)}")
    draw(frame, heading)


def called(rate: str) -> str:
    return f"{RATES[rate]:,} Mbit/s"


def draw(frame: pd.DataFrame, heading: str) -> None:
    with drawing():
        sheet = Sheet(OUT / "network", formats=("png",))
        figure, axes = plt.subplots(figsize=(sheet.inches, 2.2))
        for place, (rate, rows) in enumerate(frame.groupby("network", sort=False)):
            style = {"color": f"C{place}", "marker": MARKERS[place]}
            axes.plot(rows["interval"], rows["measured_seconds"], label=called(rate), **style)
            axes.plot(rows["interval"], rows["predicted_seconds"], "--", color=f"C{place}")
        axes.plot([], [], "k--", label="ring model")
        powers_of_two(axes)
        axes.set(xlabel="interval I", ylabel="time to the loss (s)")
        axes.set_ylim(bottom=0)
        handles, labels = axes.get_legend_handles_labels()
        finish(figure, dict(zip(labels, handles, strict=True)), heading, frame, sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="from the records, without training")
    if not parser.parse_args().table:
        train()
    table()


if __name__ == "__main__":
    main()
