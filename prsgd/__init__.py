"""prsgd: parallel restarted SGD, an experiment runner for the command line and for Python.

>>> import prsgd
>>> run = prsgd.compose("+experiment=quickstart", "interval=8", "workers=4")
>>> result = prsgd.train(run)  # a Result: .metrics, .rounds, .status, .folder, .model()
>>> runs = prsgd.load_runs("runs")  # a DataFrame over all runs in a folder

Everything here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prsgd.version import __version__

if TYPE_CHECKING:
    from prsgd.api.compose import compose
    from prsgd.api.result import Result
    from prsgd.api.train import train
    from prsgd.errors import RunFailed, UserError
    from prsgd.report.frame import load_runs

__all__ = ["Result", "RunFailed", "UserError", "__version__", "compose", "load_runs", "train"]
_PLACES = {
    "Result": "prsgd.api.result",
    "RunFailed": "prsgd.errors",
    "UserError": "prsgd.errors",
    "compose": "prsgd.api.compose",
    "load_runs": "prsgd.report.frame",
    "train": "prsgd.api.train",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'prsgd' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
