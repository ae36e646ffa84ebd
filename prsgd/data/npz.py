"""Arrays of one's own, in a file of NumPy's."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prsgd.data.sample_file import SampleFile
from prsgd.data.samples import NAMES, Samples, checked
from prsgd.errors import UserError
from prsgd.fields import text

if TYPE_CHECKING:
    import numpy as np

BROKEN = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass
class NPZ(SampleFile):
    """A file with the arrays x_train, y_train, x_test and y_test. Objects in it are refused."""

    root: str = text("???", "an .npz file", decides_curve=False)
    kind: ClassVar[str] = f"an .npz file with {', '.join(NAMES)}"

    def parsed(self, content: bytes) -> Samples:
        import numpy as np

        try:
            file: Any = np.load(io.BytesIO(content), allow_pickle=False)
        except BROKEN as error:
            raise UserError(f"{self.where}: must be {self.kind}") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{self.where}: is a single array; it must be {self.kind}")
        if missing := [name for name in NAMES if name not in file.files]:
            there = ", ".join(file.files) or "nothing"
            raise UserError(f"{self.where}: lacks {', '.join(missing)}; it has {there}")
        return checked([self._array(file, name) for name in NAMES], NAMES, self.where)

    def _array(self, file: Any, name: str) -> np.ndarray:
        try:
            array: np.ndarray = file[name]
        except BROKEN as error:
            raise UserError(f"{self.where}: {name} cannot be read ({error})") from error
        return array
