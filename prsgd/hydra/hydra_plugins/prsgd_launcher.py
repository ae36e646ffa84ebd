"""The launcher under a name that Hydra takes one from: a module of the package hydra_plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from prsgd.config.launcher import Batch, Task, changing, without_hydra


class BatchLauncher(Launcher):
    """Composes the jobs of a batch and gives them to the task, which is a `Task`."""

    def __init__(self, chosen: DictConfig, scratch: str) -> None:
        self.chosen, self.scratch = chosen, scratch

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self.task: Task = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        numbered = enumerate(job_overrides, initial_job_idx)
        configs = [self._composed(number, overrides) for number, overrides in numbered]
        lines = [list(overrides) for overrides in job_overrides]
        keys = [without_hydra(config) for config in configs]
        place = initial_job_idx, self.chosen, self.context, self.config
        return self.task.launch(Batch(configs, keys, lines, *place))

    def _composed(self, number: int, overrides: Sequence[str]) -> DictConfig:
        loader = self.context.config_loader
        config = loader.load_sweep_config(self.config, list(overrides))
        with changing(config):
            config.hydra.job.id = config.hydra.job.num = number
            config.hydra.sweep.dir = self.scratch
        return config
