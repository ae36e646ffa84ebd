"""MLflow, as its own environment variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ..."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

from mlflow import MlflowClient
from mlflow.entities import Metric

from prsgd.config.naming import curve_config
from prsgd.config.plan import Job
from prsgd.training.trackers.base import Outcome
from prsgd.training.trackers.external import Book

STATUS = {"done": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED"}


class MlflowBook(Book):
    """Columns are metrics, and the keys that decide the curve are parameters."""

    def begin(self, job: Job, key: str) -> str:
        self.client = MlflowClient()
        if key:
            self.client.update_run(key, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "prsgd")
            known = self.client.get_experiment_by_name(name)
            experiment = known.experiment_id if known else self.client.create_experiment(name)
            key = self.client.create_run(experiment, run_name=job.folder.name).info.run_id
            for parameter, value in curve_config(job.run.as_dict()).items():
                self.client.log_param(key, parameter, value)
        self.key = key
        return key

    def write(self, numbers: dict[str, float], t: int) -> None:
        now = int(1000 * time())
        metrics = [Metric(name, number, now, t) for name, number in numbers.items()]
        self.client.log_batch(self.key, metrics)

    def end(self, outcome: Outcome, figures: list[Path]) -> None:
        for path in figures:
            self.client.log_artifact(self.key, str(path), "figures")
        self.client.set_tag(self.key, "status", f"{outcome.status} {outcome.why}".strip())
        self.client.set_terminated(self.key, STATUS[outcome.status])

    def close(self, failed: bool) -> None:
        if failed:
            self.client.set_tag(self.key, "status", "failed")
            self.client.set_terminated(self.key, "FAILED")
