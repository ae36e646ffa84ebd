"""Checkpoints of one run: when they are due, what is in them, and how a run goes on from one."""

from __future__ import annotations

import time
from typing import Any

import torch

from prsgd.run_folder import RunFolder
from prsgd.training import checkpoint_files as files
from prsgd.training.metrics import Metrics
from prsgd.training.workers import RowWorkers

NAMES_OF_VERSION_1 = {"rows": "per_worker", "shared": "replicated"}


class Checkpoints:
    """The checkpoints in a run folder. Every process takes part."""

    def __init__(
        self, folder: RunFolder, workers: RowWorkers, metrics: Metrics, seconds: float
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.metrics = metrics
        self.seconds = seconds  # the least time between two checkpoints
        self._last = time.monotonic()

    def due(self, t: int) -> bool:
        """Whether one belongs to the row of step t; asked of the main process only."""
        if t == 0:
            return False
        return t == self.metrics.info.steps or time.monotonic() - self._last >= self.seconds

    def save(self, t: int) -> None:
        """Keep everything that step t + 1 needs."""
        communicator = self.workers.communicator
        counters = {
            "clock": self.metrics.counters(),
            "workers": self.workers.counters(),
            "tables": self.folder.measure_tables() if communicator.is_main else {},
        }
        tensors = self.workers.state_tensors()
        files.save(self.folder.checkpoints, t, tensors, counters, communicator)
        self._last = time.monotonic()

    def resume(self) -> tuple[int, list[str]]:
        """Take up the newest whole checkpoint, or start anew.

        Returns the step to go on from and, on the main process, a line for each checkpoint that
        was passed over.
        """
        communicator, notes = self.workers.communicator, list[str]()
        folder, step = self.folder.checkpoints, 0
        if communicator.is_main:
            step, notes = self._choose()
        step = int(communicator.all_reduce_sum(torch.tensor([step])))
        if step:
            counters = _of_any_version(files.counters(folder, step), step)
            self.workers.set_counters(counters["workers"])
            self._load(step)
            self.metrics.set_counters(counters["clock"])
        return step, notes

    def _load(self, step: int) -> None:
        """Fill all tensors. Version 0.1 kept numbers of steps k in place of AdamW's corrections."""
        folder, tensors = self.folder.checkpoints, self.workers.state_tensors()
        if "optimiser/k.0" in files.names(folder, step):
            corrections = self.workers.optimizer.corrections
            for name, beta in zip(corrections, self.metrics.run.betas, strict=True):
                k = {f"optimiser/k.{w}": row for w, row in enumerate(corrections[name])}
                files.load(folder, step, k)
                del tensors[f"optimiser/correction_{name}.all"]
                corrections[name].copy_(1 - beta ** corrections[name])
        files.load(folder, step, tensors)

    def _choose(self) -> tuple[int, list[str]]:
        """The step of the newest whole checkpoint, to which the tables are cut; 0 for none."""
        folder = self.folder.checkpoints
        step, counters, damage = files.newest(
            folder, lambda counters: self.folder.damage(counters["tables"])
        )
        if step:
            self.folder.cut_tables(counters["tables"])
        else:
            self.folder.begin_tables()
        files.forget_after(folder, step)
        then = f"going on from {step:09d}" if step else "starting anew"
        return step, [f"{line}: {then}" for line in damage]


def _of_any_version(counters: dict[str, Any], step: int) -> dict[str, Any]:
    """The counters as they are now; those of version 0.1 had other names."""
    if "workers" in counters:
        return counters
    names = {new: counters["names"][old] for old, new in NAMES_OF_VERSION_1.items()}
    workers = {
        "t": step,
        "local_steps": counters["local_steps"],
        "scalars": counters["numbers"],
        "names": names,
        "ledger": counters["ledger"],
    }
    return {"clock": counters["clock"], "workers": workers, "tables": counters["tables"]}
