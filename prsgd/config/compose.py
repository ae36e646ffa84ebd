"""Hydra composes conf/ and the command line into runs. Only this module and `explain` use Hydra."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prsgd.config.build import build_run
from prsgd.config.choices import ALIASES, conf_dir, config_dirs
from prsgd.config.explain import explain, with_source
from prsgd.config.schema import Run
from prsgd.config.table import expand
from prsgd.errors import UserError
from prsgd.files import scratch_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOT_KEYS = ("runs", "figures")  # parts of an experiment that are no keys of its runs


def compose(
    arguments: list[str], on_elsewhere: Callable[[list[Run], Mapping[str, Any]], int] | None = None
) -> tuple[list[Run], dict[str, Any]]:
    """All runs that Hydra makes of the arguments, each checked, and the figures they ask for.

    Under a launcher or sweeper other than Hydra's basic ones each job is done where it was sent, by
    `on_elsewhere`, and none is returned.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    import hydra
    from hydra.core.hydra_config import HydraConfig

    composed: list[Any] = []
    sent = 0

    @hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    def collect(config: DictConfig) -> None:
        nonlocal sent
        if on_elsewhere is None or _is_basic(HydraConfig.get()):
            composed.append(config)
            return
        sent += 1
        if code := on_elsewhere(*_built(plain([config]))):
            raise SystemExit(code)

    config_dirs(arguments)
    with scratch_folder() as nowhere:  # for the files that Hydra writes of a sweep
        typed = list(_for_hydra(arguments, nowhere))
        sys.argv = ["prsgd train", *typed]
        try:
            collect()
            configs = plain(composed)
        except UserError:
            raise
        except Exception as error:
            raise UserError(explain(error, typed, config_dirs(arguments))) from error
    if not composed and not sent and {"-m", "--multirun"} & {*arguments}:
        raise UserError("-m: the sweep is empty; one of its keys has no values")
    try:
        return _built(configs)
    except UserError as error:
        raise UserError(with_source(str(error), arguments)) from error


def _is_basic(hydra: Any) -> bool:
    """Whether the jobs are only collected, and not sent or optimised by a plugin of Hydra's."""
    single = hydra.mode.name == "RUN"
    launcher, sweeper = hydra.launcher._target_, hydra.sweeper._target_
    return bool(single or (launcher.endswith("BasicLauncher") and sweeper.endswith("BasicSweeper")))


def _for_hydra(arguments: list[str], nowhere: Path) -> Iterator[str]:
    """The arguments in Hydra's grammar: flags first, which argparse wants."""
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    yield from (a for a in arguments if a not in overrides)
    if not any("hydra/launcher=" in a or "hydra.sweep.dir=" in a for a in arguments):
        yield f"hydra.sweep.dir={nowhere}"
    yield from for_hydra(overrides)


def for_hydra(overrides: Iterable[str]) -> Iterator[str]:
    """Overrides in Hydra's grammar, under the names that the keys have."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value.startswith("~/") and not re.search("['\"]", value):
            value = f"'{value}'"  # in Hydra's grammar a bare ~ deletes a key
        yield f"{ALIASES.get(key, key)}={value}"


def plain(composed: list[DictConfig]) -> list[dict[str, Any]]:
    """The configurations as plain mappings, one for each run: some have a table of runs."""
    from omegaconf import OmegaConf

    rows = [row for config in composed for row in expand(config)]
    return [OmegaConf.to_container(row, resolve=True) for row in rows]  # type: ignore[misc]


def _built(configs: list[dict[str, Any]]) -> tuple[list[Run], dict[str, Any]]:
    """The runs of the configurations, and what they say of figures."""
    figures = configs[-1].get("figures", {}) if configs else {}
    return [build_run(keys_of_run(config)) for config in configs], figures


def keys_of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """A composed configuration without what an experiment says beside the keys of its runs."""
    return {key: value for key, value in config.items() if key not in NOT_KEYS}
