"""Time on a slow network, measured, beside what the records of a fast one say.

    sudo .venv/bin/python scripts/replay.py --repeats 5    # a quarter of an hour
    .venv/bin/python scripts/replay.py --table             # from what was measured before

N = 4 workers of ResNet-20, one in each of four network namespaces of this machine
(scripts/slow_network.sh), 40 steps on synthetic images. Each setting is trained over links of
10 Gbit/s and of 100 Mbit/s in turn. The records of the fast links alone give the prediction: the
steps of that run, and its rounds over links of 100 Mbit/s with the latency that uncompressed rounds
had there. What a delay hides is what training no longer waits for.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from measure import OUT, hardware, markdown, run, write

from prsgd.cost.network import MBIT, Network
from prsgd.report.replayed import Replayed
from prsgd.report.runs import load_run

HOSTS, STEPS, SLOW = 4, 40, 100  # Mbit/s
RATES = {"fast": "10gbit", "slow": f"{SLOW}mbit"}
SETTINGS = {
    "none": "interval=1",
    "int8": "interval=1 compression=int8",
    "topk 1 %": "interval=1 compression=topk compression.ratio=0.01",
    "fragments=4": "interval=4 fragments=4",
    "fragments=4 delay=3": "interval=4 fragments=4 delay=3 merge=0.5",
}
RUN = (
    *("data=synthetic", "data.size=32", f"data.train={HOSTS * 32 * STEPS}", "data.test=16"),
    *("model=resnet20", f"workers={HOSTS}", "batch_size=32", "epochs=1", "lr=0.05"),
    *("evaluate_samples=16", "schedule=constant", "precision=fp32", "device=cpu"),
)


def measured(setting: str, rate: str, latency: float | None) -> dict[str, float]:
    """A run's seconds; of a fast one also those that its records predict for slow links."""
    script = str(Path(__file__).parent / "slow_network.sh")
    with tempfile.TemporaryDirectory() as folder:
        keys = [*RUN, *SETTINGS[setting].split(), f"out={folder}"]
        command = ["sh", script, RATES[rate], str(HOSTS), "train", *keys]
        run(command, {"PYTHON": sys.executable}, ".")
        [path] = Path(folder).iterdir()
        record = load_run(path)
        last = record.metrics.iloc[-1]
        row = {
            "seconds": last["train_seconds"],
            "sending": last["comm_seconds"],
            "waiting": last["wait_seconds"],
            "round": record.rounds["seconds"].median(),
        }
        if rate == "fast":
            own = Replayed(record)
            hops = own.compression.hops(HOSTS)
            row["latency"] = row["round"] / hops
            link = Network(row["latency"] if latency is None else latency, SLOW * MBIT)
            row["predicted"] = float(own.seconds(link)[-1])
        shutil.rmtree(path)
    return row


def measure(repeats: int) -> pd.DataFrame:
    rows = []
    for repeat in range(repeats):
        latency = None
        for setting in SETTINGS:
            for rate in RATES:
                found = measured(setting, rate, latency)
                if setting == "none" and rate == "fast":
                    latency = found["latency"]
                rows.append({"repeat": repeat, "setting": setting, "rate": rate, **found})
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def report(frame: pd.DataFrame) -> str:
    """The table of medians, and what follows from them."""
    heading = ["sent", "measured (s)", "predicted (s)", "error"]
    lines = [[*heading, "for the network (s)", "for others (s)", "a round (ms)"]]
    slow, fast = (frame[frame["rate"] == rate].set_index("repeat") for rate in ("slow", "fast"))
    middle = {}
    for setting in SETTINGS:
        own = slow[slow["setting"] == setting]
        said = fast[fast["setting"] == setting]["predicted"]
        middle[setting] = own.median(numeric_only=True)
        error = said.median() / middle[setting]["seconds"] - 1
        cells = [setting, spread(own["seconds"]), spread(said), f"{error:+.0%}".replace("-", "−")]
        own = middle[setting]
        cells += [f"{own['sending']:.2f}", f"{own['waiting']:.2f}", f"{1000 * own['round']:.3g}"]
        lines.append(cells)
    plain, late = middle["fragments=4"], middle["fragments=4 delay=3"]
    hidden = 1 - late["sending"] / plain["sending"]
    faster = middle["none"]["round"] / middle["int8"]["round"]
    return (
        f"{HOSTS} hosts over links of {SLOW} Mbit/s, ResNet-20, {STEPS} steps, in each a round of "
        f"the model or of a fragment: "
        f"the median of {frame['repeat'].nunique()} runs (smallest to largest). Predicted: from "
        f"records of links of 10 Gbit/s. {hardware()}.\n\n{markdown(lines, 1)}\n"
        f"A round with int8 is {faster:.1f} times as fast as an uncompressed one. With fragments "
        f"training waits {plain['sending']:.2f} s for the network, and with a delay of three steps "
        f"{late['sending']:.2f} s: {hidden:.0%} is hidden. Four processes share two cores, and the "
        f"rest of what is waited is for the slowest of them.\n"
    )


def spread(values: pd.Series) -> str:
    return f"{values.median():.2f} ({values.min():.2f} to {values.max():.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="from what was measured before")
    options = parser.parse_args()
    frame = pd.read_csv(OUT / "replay.csv") if options.table else measure(options.repeats)
    write("replay", frame, report(frame))


if __name__ == "__main__":
    main()
