"""What a task measures, as a run folder says it: report, advice and trackers read it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A number beside the loss. Its column in metrics.csv is `test_` and its name."""

    name: str
    title: str  # in sentences and on axes
    unit: str  # with "%" a fraction is recorded
    better: str  # higher | lower

    @property
    def column(self) -> str:
        return f"test_{self.name}"

    def shown(self, value: float, digits: int = 2) -> str:
        """A value for people."""
        if self.unit == "%":
            return f"{value:.{digits}%}"
        return f"{value:.{digits + 2}f} {self.unit}".rstrip()


@dataclass(frozen=True)
class Measures:
    """All that is measured, and what progress is counted in."""

    unit: str  # of the data: images, tokens
    metrics: tuple[Metric, ...]

    @property
    def speed(self) -> str:
        """The column of metrics.csv for data per second."""
        return f"{self.unit}_per_second"

    @property
    def main(self) -> Metric:
        """The metric that screens and figures show beside the loss."""
        return self.metrics[0]

    def as_dict(self) -> dict[str, Any]:
        """The plain mapping that stands in a record."""
        return {"unit": self.unit, "metrics": [asdict(metric) for metric in self.metrics]}

    @staticmethod
    def of(record: Mapping[str, Any]) -> Measures:
        """What `as_dict` returned. Raises TypeError or KeyError where it did not."""
        return Measures(str(record["unit"]), tuple(Metric(**m) for m in record["metrics"]))


OF_IMAGES = Measures("images", (Metric("accuracy", "accuracy", "%", "higher"),))
