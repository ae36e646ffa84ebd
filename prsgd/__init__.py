"""prsgd: parallel restarted SGD, an experiment runner. See README.md."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prsgd")
    raise AttributeError(f"module 'prsgd' has no attribute '{name}'")
