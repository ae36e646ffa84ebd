"""A launcher of Hydra's that hands all jobs of a batch to the task at once.

Hydra asks for the launcher that a configuration names, which may be a plugin such as joblib's.
`Surround` puts ours around it when a sweep starts: the task sees every job before the first one
starts, and what each returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, run_job
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

BASIC = ".BasicLauncher"
GRID = ".BasicSweeper"
OF_HYDRA = re.compile(r"\$\{hydra:[^{}]*\}")
OURS = "hydra_plugins.prsgd_launcher.BatchLauncher"


@dataclass(frozen=True)
class Batch:
    """Jobs that a sweeper wants done.

    `configs` has the configuration of each with Hydra's part, and `keys` without it.
    """

    configs: Sequence[DictConfig]
    keys: Sequence[DictConfig]
    overrides: Sequence[Sequence[str]]  # of each job
    first: int  # the number of the first job within the sweep
    launcher: DictConfig  # of the user's choice
    context: HydraContext
    master: DictConfig  # the sweep's configuration

    @property
    def is_ours(self) -> bool:
        """Whether no launcher but Hydra's basic one was chosen."""
        return str(self.launcher._target_).endswith(BASIC)

    @property
    def is_grid(self) -> bool:
        """Whether what a job returns does not decide which come next."""
        return is_grid(self.master)

    @property
    def maximises(self) -> bool:
        return maximises(self.master.hydra)

    @property
    def is_whole(self) -> bool:
        """Whether these are all jobs of the sweep."""
        return self.is_grid and self.master.hydra.sweeper.max_batch_size is None

    def run(self, place: int, task: Callable[[DictConfig], Any]) -> JobReturn:
        """Do a job here, as Hydra does: its callbacks are told."""
        return run_job(
            task_function=task,
            config=self.configs[place],
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )

    def send(
        self, task: Callable[[DictConfig], Any], jobs: Sequence[int], number: int
    ) -> Sequence[JobReturn]:
        """Let the chosen launcher do some of the jobs, numbered from `number` on in the batch.

        The task is pickled.
        """
        master = self.master.copy()
        with changing(master):
            master.hydra.launcher = self.launcher
        launcher = Plugins.instance().instantiate_launcher(self.context, task, master)
        return launcher.launch([self.overrides[job] for job in jobs], self.first + number)


class Task(Protocol):
    """What is done with the jobs that Hydra composes."""

    def __call__(self, config: DictConfig) -> Any:
        """Do the only job of a command that sweeps nothing."""

    def launch(self, batch: Batch) -> Sequence[JobReturn]:
        """Do the jobs of a batch; what each returned, in their order."""


class Surround(Callback):
    """Puts our launcher around that of a sweep."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        chosen = config.hydra.launcher
        ours = {"_target_": OURS, "_recursive_": False, "chosen": chosen, "scratch": self.scratch}
        with changing(config):
            if chosen._target_.endswith(BASIC) and is_grid(config):
                config.hydra.sweep.dir = self.scratch
            config.hydra.launcher = OmegaConf.create(ours)


def is_grid(config: DictConfig) -> bool:
    """Whether a sweep's jobs are known before the first one starts."""
    return str(config.hydra.sweeper._target_).endswith(GRID)


def maximises(hydra: Any) -> bool:
    """Whether the sweeper of this part of Hydra's looks for the largest objective."""
    return "max" in str(hydra.sweeper.get("direction", "minimize")).lower()


def without_hydra(config: DictConfig) -> DictConfig:
    """A job's configuration without Hydra's part.

    What is taken from that part, such as the number of the job, is filled in. All else is resolved
    later, as a table of runs may change what it is taken from.
    """
    own = config.copy()
    hydra = HydraConfig.instance()
    before: Any = hydra.cfg
    hydra.set_config(config)
    try:
        with changing(own):
            del own["hydra"]
            for path, value in _leaves(OmegaConf.to_container(own)):
                if OF_HYDRA.search(str(value)):
                    OmegaConf.update(own, path, _filled_in(value))
    finally:
        hydra.cfg = before
    return own


def _filled_in(text: str) -> Any:
    """A text whose parts of Hydra's are their values; a value of any type if there is no other."""
    if OF_HYDRA.fullmatch(text):
        return OmegaConf.create({"value": text}).value
    return OF_HYDRA.sub(lambda part: str(_filled_in(part[0])), text)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a plain configuration that hold no others, with their paths."""
    if not isinstance(node, dict | list):
        yield path, node
        return
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _leaves(inner, f"{path}.{key}".removeprefix("."))


@contextmanager
def changing(config: DictConfig) -> Iterator[None]:
    with read_write(config), open_dict(config):
        yield
