"""The methods, one small file each, and what a method of one's own is made of."""

from prsgd.algorithms.averaging import ModelAveraging
from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import Array, Part, RunInfo
from prsgd.algorithms.interface import Workers
from prsgd.algorithms.rounds import Rounds
from prsgd.algorithms.rows import Rows
from prsgd.algorithms.streamed import Streamed

__all__ = [
    "Algorithm",
    "Array",
    "ModelAveraging",
    "Part",
    "Rounds",
    "Rows",
    "RunInfo",
    "Streamed",
    "Workers",
]
