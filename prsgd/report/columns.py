"""What axes say of a column of metrics.csv and of a configuration key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prsgd.measures import Measures
from prsgd.report.style import shortened


@dataclass(frozen=True)
class Column:
    """The label of an axis, the unit of what it shows, and its kind."""

    label: str
    percent: bool = False
    unit: float = 1
    log: bool = False
    from_zero: bool = False  # an axis of whole numbers from 0 on

    def shown(self, values: Any) -> Any:
        """Recorded values in the unit of the axis."""
        return (100 * values if self.percent else values) / self.unit


COLUMNS = {
    "epoch": Column("epochs of all workers together", from_zero=True),
    "round": Column("communication rounds", log=True),
    "payload_bytes": Column("sent by one worker between all (MB)", unit=1e6, log=True),
    "train_seconds": Column("training time (s)", from_zero=True),
    "virtual_time": Column("virtual time (steps at speed 1)", from_zero=True),
    "consensus_train_loss": Column("training loss of x̄", log=True),
}
KEYS = {
    "workers": "workers N",
    "batch_size": "batch size b",
    "lr": "learning rate γ",
    "momentum": "momentum β",
    "algorithm.interval": "interval I",
}


def column(name: str, measures: Measures) -> Column:
    """The axis of a column; one that nobody describes goes by its name."""
    for metric in measures.metrics:
        if name == metric.column:
            unit = f" ({metric.unit})" if metric.unit else ""
            title = f"test {metric.title} of x̄{unit}"
            return Column(shortened(title), percent=metric.unit == "%")
    if name == "units":
        return Column(shortened(f"{measures.unit} of all workers together (millions)"), unit=1e6)
    return COLUMNS.get(name, Column(name.replace("_", " ")))


def key_label(key: str) -> str:
    """The label of an axis for a configuration key."""
    return KEYS.get(key, key.rpartition(".")[2].replace("_", " "))
