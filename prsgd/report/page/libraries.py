"""The libraries that the page is made with. Packages bring them along; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from prsgd.errors import UserError

PACKAGES = {"vl_convert": "vl-convert-python", "itables": "itables"}  # module -> package


@dataclass(frozen=True)
class Libraries:
    """Modules of JavaScript, and CSS."""

    charts: str  # Vega-Lite and what it needs; sets window.vegaEmbed
    tables: str  # DataTables, its default export
    style: str  # of DataTables


def refuse_missing() -> None:
    """A `UserError` for packages that are not installed."""
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise UserError(
            f"prsgd report: needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}: "
            "pip install 'prsgd[report]'"
        )


def bundle() -> Libraries:
    """The libraries as the installed packages have them."""
    from itables import options
    from vl_convert import javascript_bundle

    tables = Path(options.dt_bundle)
    return Libraries(
        javascript_bundle("window.vegaEmbed = vegaEmbed;"),
        tables.read_text(encoding="utf-8"),
        tables.with_suffix(".css").read_text(encoding="utf-8"),
    )
