"""Weights & Biases, as its own environment variables say: WANDB_PROJECT, WANDB_MODE=offline, ..."""

from __future__ import annotations

import os
from pathlib import Path

import wandb

from prsgd.config.plan import Job
from prsgd.training.trackers.base import Outcome
from prsgd.training.trackers.external import Book, new_key


class WandbBook(Book):
    """Columns are metrics, and t is W&B's step."""

    def begin(self, job: Job, key: str) -> str:
        key = key or new_key()
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "prsgd"),
            name=job.folder.name,
            id=key,
            resume="allow",
            dir=job.folder,
            config=job.run.as_dict(),
            settings=wandb.Settings(silent=True),
        )
        return key

    def write(self, numbers: dict[str, float], t: int) -> None:
        self.run.log(numbers, step=t)

    def end(self, outcome: Outcome, figures: list[Path]) -> None:
        self.run.summary["status"] = outcome.status
        if figures:
            self.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
        self.run.finish(exit_code=int(outcome.status != "done"))

    def close(self, failed: bool) -> None:
        if failed:
            self.run.summary["status"] = "failed"
            self.run.finish(exit_code=1)
