"""What `prsgd advise` predicts beside what `prsgd train` then measures.

    sudo .venv/bin/python scripts/check_advice.py     # about five minutes on two cores

ResNet-20 on synthetic images, N = 8 on two processes: on this machine's own network, and between
two network namespaces whose link carries 100 Mbit/s. Writes results/bench/advice.{csv,md}.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
from measure import hardware, markdown, run, write

RATE = "100mbit"
INTERVALS = (1, 4, 16)
STEPS = 32
KEYS = ["workers=8", "batch_size=32", "schedule=constant", "lr=0.1", "data=synthetic"]
KEYS += [
    f"data.train={8 * 32 * STEPS}",
    "data.test=100",
    "epochs=1",
    "precision=bf16",
    "processes=2",
]
SLOW = ["sh", str(Path(__file__).parent / "slow_network.sh"), RATE, "2"]
NETWORKS = {"loopback": [sys.executable, "-m", "prsgd"], RATE: SLOW}


def predictions(network: str, folder: str) -> dict[int, float]:
    """images/s by interval, out of the table that `advise` prints."""
    text, _ = run(
        [*NETWORKS[network], "advise", "--calibrate", *KEYS],
        {"PYTHON": sys.executable},
        folder,
    )
    print(text)
    rows = re.findall(r"^ *(\d+) +[\d.,]+ +([\d,]+) ", text, re.MULTILINE)
    return {int(interval): float(speed.replace(",", "")) for interval, speed in rows}


def measured(network: str, interval: int, folder: str) -> float:
    out = Path(folder) / str(interval)
    arguments = ["train", *KEYS, f"interval={interval}", f"out={out}"]
    run([*NETWORKS[network], *arguments], {"PYTHON": sys.executable}, folder)
    [path] = out.iterdir()
    return float(pd.read_csv(path / "metrics.csv").iloc[-1]["images_per_second"])


def main() -> None:
    found = []
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            predicted = predictions(network, folder)
            for interval in INTERVALS:
                speed = measured(network, interval, folder)
                row = {"network": network, "interval": interval}
                found.append({**row, "predicted": predicted[interval], "measured": speed})
                print(found[-1], flush=True)
    frame = pd.DataFrame(found)
    frame["error"] = frame["predicted"] / frame["measured"] - 1
    lines = [["network", "I", "predicted images/s", "measured images/s", "error"]]
    for row in frame.itertuples():
        cells = [row.network, row.interval, f"{row.predicted:.0f}", f"{row.measured:.0f}"]
        lines.append([*map(str, cells), f"{row.error:+.1%}"])
    heading = f"ResNet-20, N = 8 on two processes, batch 32, bf16, T = {STEPS}, on {hardware()}."
    write("advice", frame, f"{heading}\n\n{markdown(lines, 1)}")


if __name__ == "__main__":
    main()
