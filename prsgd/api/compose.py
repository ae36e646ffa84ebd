"""A configuration from conf/, composed in Python."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prsgd.config.build import build_run
from prsgd.config.choices import conf_dir
from prsgd.config.compose import for_hydra, keys_of_run, plain
from prsgd.config.explain import explain, with_source
from prsgd.config.grammar import in_grammar
from prsgd.config.schema import Run
from prsgd.errors import UserError
from prsgd.files import home_expanded

EACH = "in Python compose each run on its own"
TURN = threading.Lock()  # Hydra composes one configuration at a time


def compose(*overrides: str, config_dir: str | Path | None = None) -> Run:
    """The run that `prsgd train OVERRIDES` would train; nothing is started or written.

    Each override is as on the command line, such as "interval=8" or "+experiment=quickstart".
    `config_dir` is a folder of your own choices, which is code, as a package is. Raises a UserError
    with the line of the command line, and for overrides that make several runs.
    """
    try:
        return build_run(composed(overrides, config_dir))
    except UserError as error:
        raise UserError(with_source(str(error), overrides)) from error


def composed(overrides: Sequence[str], config_dir: str | Path | None = None) -> dict[str, Any]:
    """The plain configuration of one run."""
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import open_dict

    folders = [home_expanded("config_dir", str(config_dir))] if config_dir is not None else []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"config_dir={folder}: must be a folder")
    for override in overrides:
        if not isinstance(override, str):
            kind = type(override).__name__
            raise UserError(
                f"each override must be a text of its own, such as interval=8, not {kind}"
            )
        if override.startswith("-"):
            raise UserError(f"{override}: must be KEY=VALUE; flags are the command line's")
    lines = [*for_hydra(overrides)]
    places = [f"file://{folder.absolute()}" for folder in folders]
    search = [f"hydra.searchpath={in_grammar(places)}"] if places else []
    with TURN, _a_hydra_of_our_own():
        try:
            for line in OverridesParser.create().parse_overrides(lines):
                if line.is_sweep_override():
                    key = line.get_key_element()
                    raise UserError(f"{key}: several values are several runs; {EACH}")
            with hydra.initialize_config_dir(str(conf_dir()), job_name="prsgd", version_base="1.3"):
                config = hydra.compose("config", [*search, *lines], return_hydra_config=True)
            with open_dict(config):
                hydra_keys = config.pop("hydra")
            found = plain([config])
        except UserError:
            raise
        except Exception as error:
            raise UserError(explain(error, lines, folders)) from error
    swept = ", ".join(hydra_keys.sweeper.params or {})
    if swept or len(found) > 1:
        what = f"sweeps over {swept}" if swept else f"makes {len(found)} runs"
        raise UserError(f"{' '.join(overrides)}: {what}; {EACH}")
    return keys_of_run(found[0])


@contextmanager
def _a_hydra_of_our_own() -> Iterator[None]:
    """Leave the Hydra of the program that calls us as it is."""
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra

    theirs, base = GlobalHydra.instance().hydra, version.getbase()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs
        version.VersionBase.instance().version_base = base
