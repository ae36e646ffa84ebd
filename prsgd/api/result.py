"""What a trained run leaves, in Python."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prsgd.config.schema import Run
from prsgd.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


@dataclass(frozen=True, eq=False)
class Result:
    """A run that has ended: its status, "done" or "diverged", why, and its folder."""

    run: Run
    folder: Path
    status: str
    why: str = ""

    def __post_init__(self) -> None:
        vars(self)["_place"] = self.folder.absolute()  # wherever the program goes

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row at t = 0 and at each evaluation: losses, metrics, bytes and seconds.

        `consensus_train_loss` is the average model's, on a fixed sample of the training data.
        """
        return self._table("metrics.csv")

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row for each averaging: the step, the drift before it, bytes and seconds."""
        return self._table("rounds.csv")

    def model(self) -> nn.Module:
        """The average model at the end, a module on the CPU in evaluation mode.

        Each call makes another one. Raises a UserError where the run diverged.
        """
        from prsgd.training.trained import trained

        return trained(self.run, vars(self)["_place"])

    def __repr__(self) -> str:
        row, metric = RunFolder(vars(self)["_place"]).last_metrics(), self.run.measures().main
        words = [f"{self.status}: {self.why}" if self.why else self.status]
        if row:
            words.append(f"training loss {row['consensus_train_loss']:.4f}")
            words.append(f"test {metric.title} {metric.shown(row[metric.column])}")
            words.append(f"{row['round']:,.0f} rounds")
        return f"Result({', '.join(words)}; {self.folder})"

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        return pd.read_csv(vars(self)["_place"] / name)
