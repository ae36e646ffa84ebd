"""A table of one's own: a row for each sample, and a column to predict."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prsgd.data.sample_file import SampleFile
from prsgd.data.samples import NAMES, Samples, checked
from prsgd.errors import UserError
from prsgd.fields import text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HELD_OUT = 6  # one row of so many is a test row


@dataclass
class Table(SampleFile):
    """A CSV file with a line of names. Every sixth row is a test row.

    A `target` of whole numbers, booleans or text is a class, one of the sorted values. Other
    columns, and a target of floats, are standardised: less the training rows' mean, divided by
    their standard deviation. A constant column becomes 0.
    """

    root: str = text("???", "a CSV file", decides_curve=False)
    target: str = text("???", "the name of the column to predict")
    kind: ClassVar[str] = "a CSV file with a line of names"

    def form(self) -> str:
        return f"{self.target} "

    def parsed(self, content: bytes) -> Samples:
        import numpy as np

        rows = self._rows(content)
        test = np.arange(len(rows)) % HELD_OUT == HELD_OUT - 1
        x, y = rows.drop(columns=self.target), rows[self.target]
        standardised = _standardised(x.to_numpy(np.float64), test)
        if y.dtype.kind == "f":
            targets = _standardised(y.to_numpy(np.float64)[:, None], test)[:, 0]
        else:
            targets = np.unique(y.to_numpy(), return_inverse=True)[1]
        arrays = standardised[~test], targets[~test], standardised[test], targets[test]
        return checked(arrays, NAMES, self.where)

    def _rows(self, content: bytes) -> pd.DataFrame:
        """The table, if all of it can be learned from."""
        import pandas as pd

        try:
            rows = pd.read_csv(io.BytesIO(content), low_memory=False)
        except ValueError as error:  # of the parser, of UTF-8, of a file without columns
            raise UserError(f"{self.where}: is no CSV file ({error})") from error
        if self.target not in rows:
            there = ", ".join(map(str, rows.columns))
            raise UserError(f"data.target={self.target}: must be a column of the table: {there}")
        for place, name in enumerate(rows, 1):
            if re.fullmatch(r"Unnamed: \d+", str(name)):
                raise UserError(
                    f"{self.where}: column {place} has no name; name it, or leave it out if it "
                    "numbers the rows (in pandas: to_csv(..., index=False))"
                )
        if len(rows) < HELD_OUT:
            raise UserError(
                f"{self.where}: has {len(rows)} rows; it must have {HELD_OUT} or more, as every "
                "sixth is a test row"
            )
        others = rows.drop(columns=self.target)
        if others.empty:
            raise UserError(f"{self.where}: has no column beside {self.target} to predict it from")
        if words := [str(name) for name in others if others[name].dtype.kind not in "buif"]:
            raise UserError(
                f"{self.where}: columns of text cannot be learned from: {', '.join(words)}; drop "
                "them or encode them as numbers"
            )
        for name in rows:
            if (missing := rows[name].isna()).any():
                row = int(missing.to_numpy().argmax()) + 1
                raise UserError(
                    f"{self.where}: column {name} has no value in row {row}; words such as NA and "
                    "None count as none"
                )
        for name in rows.select_dtypes("float"):
            if (infinite := rows[name].abs() == float("inf")).any():
                row = int(infinite.to_numpy().argmax()) + 1
                raise UserError(f"{self.where}: column {name} is infinite in row {row}")
        return rows


def _standardised(columns: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Columns (n, f) less the training rows' mean, divided by their deviation; 0 if constant."""
    import numpy as np

    training = columns[~test]
    varies = training.min(0) < training.max(0)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers too large are refused later
        deviation = np.where(varies, training.std(0), 1.0)
        return np.where(varies, (columns - training.mean(0)) / deviation, 0.0)
