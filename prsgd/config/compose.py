"""Hydra composes conf/ and the command line into runs. `launcher` and `explain` use it as well."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf.errors import OmegaConfBaseException

from prsgd.config.build import build_run
from prsgd.config.choices import ALIASES, conf_dir, config_dirs
from prsgd.config.explain import explain, with_source
from prsgd.config.schema import Run
from prsgd.config.table import expand
from prsgd.errors import UserError
from prsgd.files import scratch_folder

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

    from prsgd.config.launcher import Batch, Task

PLUGINS = Path(__file__).parents[1] / "hydra"  # in a checkout; installed, ours is beside prsgd
NOT_KEYS = ("runs", "figures", "jobs", "objective")  # of a whole sweep, and no keys of its runs


def compose(arguments: list[str]) -> tuple[list[Run], dict[str, Any]]:
    """All runs that Hydra makes of the arguments, each checked, and the figures they ask for.

    A sweeper that chooses its jobs by what came of others is refused.
    """
    found = Collected()
    hydra_jobs(arguments, found)
    return runs_of(found.configs, arguments)


class Collected:
    """A task that keeps the configurations of its jobs, and does none of them."""

    def __init__(self) -> None:
        self.configs: list[DictConfig] = []

    def __call__(self, config: DictConfig) -> None:
        self.configs.append(config)

    def launch(self, batch: Batch) -> Sequence[JobReturn]:
        from hydra.core.utils import JobReturn, JobStatus

        if not batch.is_grid:
            raise UserError(
                "hydra/sweeper: nothing can be planned, as what comes out of a run decides the next"
            )
        self.configs += batch.keys
        return [JobReturn(status=JobStatus.COMPLETED) for _ in batch.keys]


def hydra_jobs(arguments: list[str], task: Task) -> None:
    """Let Hydra read the arguments, and do the jobs that they make by `task`.

    Raises what the task raises, and a `UserError` for arguments that Hydra cannot read.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    import hydra

    if PLUGINS.is_dir() and str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))  # for a checkout that is not installed
    main = hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    jobs = _PastHydra(task)
    config_dirs(arguments)
    with scratch_folder() as nowhere:  # for the files that Hydra writes of a sweep
        typed = list(_for_hydra(arguments))
        surround = f"{{_target_:prsgd.config.launcher.Surround,scratch:'{nowhere}'}}"
        sys.argv = ["prsgd train", *typed, f"+hydra.callbacks.prsgd={surround}"]
        try:
            main(jobs)()
        except _Carried as carried:
            raise carried.error from None
        except Exception as error:
            raise UserError(explain(error, typed, config_dirs(arguments))) from error


class _Carried(BaseException):
    """An error on its way past Hydra, which would catch it and print it in a way of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _PastHydra:
    """A task whose errors leave Hydra as they are."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, config: DictConfig) -> Any:
        with self._carrying():
            return self.task(config)

    def launch(self, batch: Batch) -> Sequence[JobReturn]:
        with self._carrying():
            if not batch.keys:
                raise UserError("-m: the sweep is empty; one of its keys has no values")
            return self.task.launch(batch)

    @contextmanager
    def _carrying(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise _Carried(error) from error


def _for_hydra(arguments: list[str]) -> Iterator[str]:
    """The arguments in Hydra's grammar: flags first, which argparse wants."""
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    yield from (a for a in arguments if a not in overrides)
    yield from for_hydra(overrides)


def for_hydra(overrides: Iterable[str]) -> Iterator[str]:
    """Overrides in Hydra's grammar, under the names that the keys have."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value.startswith("~/") and not re.search("['\"]", value):
            value = f"'{value}'"  # in Hydra's grammar a bare ~ deletes a key
        yield f"{ALIASES.get(key, key)}={value}"


def plain(composed: Sequence[DictConfig]) -> list[dict[str, Any]]:
    """The configurations as plain mappings, one for each run: some have a table of runs."""
    from omegaconf import OmegaConf

    rows = [row for config in composed for row in expand(config)]
    return [OmegaConf.to_container(row, resolve=True) for row in rows]  # type: ignore[misc]


def runs_of(
    composed: Sequence[DictConfig], arguments: list[str]
) -> tuple[list[Run], dict[str, Any]]:
    """The runs of what Hydra composed from the arguments, and what it says of figures.

    A refusal names the preset that gave a key which the user did not type.
    """
    try:
        configs = plain(composed)
        figures = configs[-1].get("figures", {}) if configs else {}
        return [build_run(keys_of_run(config)) for config in configs], figures
    except UserError as error:
        raise UserError(with_source(str(error), arguments)) from error
    except OmegaConfBaseException as error:
        typed = list(_for_hydra(arguments))
        raise UserError(explain(error, typed, config_dirs(arguments))) from error


def keys_of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """A composed configuration without what an experiment says beside the keys of its runs."""
    return {key: value for key, value in config.items() if key not in NOT_KEYS}
