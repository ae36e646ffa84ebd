"""What is measured: when a row of metrics.csv is due, and what stands in it."""

from __future__ import annotations

from typing import Any

from torch import nn

from prsgd.config.schema import Run
from prsgd.distributed.rounds import close_rounds
from prsgd.tasks.base import Bound
from prsgd.training.clock import Clock
from prsgd.training.evaluate import evaluate
from prsgd.training.workers import RowWorkers

ROUNDING = 1e-9  # of 0.3 / 0.1, which is less than 3


class Metrics:
    """The measurements of one run. Every process takes part in them."""

    def __init__(
        self, run: Run, workers: RowWorkers, task: Bound, clock: Clock, version: int
    ) -> None:
        """`version` is that of the record: an epoch of version 1 lacks what is dropped."""
        self.run = run
        self.workers = workers
        self.task = task
        self.clock = clock
        n = run.samples()
        self.info = run.info(n)
        self.measures = run.measures()
        self._epoch_samples = run.drawn_per_epoch(n) if version == 1 else n
        self._virtual_time = 0.0  # seconds of the virtual clock at the last round
        self._row_step = 0
        self._row_seconds = 0.0

    def due(self, t: int) -> bool:
        """Whether a row belongs to step t: every `evaluate_every` epochs, and at the end."""
        before, now = (int(self.epoch(s) / self.run.evaluate_every + ROUNDING) for s in (t - 1, t))
        return t == self.info.steps or now > before

    def epoch(self, t: int) -> float:
        """Passes over the data that all workers together have made."""
        workers = self.run.workers
        drawn = self.run.algorithm.batches_drawn(t, workers)
        return drawn * self.run.batch_size / self._epoch_samples

    def lr(self, t: int) -> float:
        """γ of step t."""
        return self.run.algorithm.lr(t, self.info.lr(t))

    def mean_loss(self, t: int, loss_sum: float) -> float | None:
        """The mean mini-batch loss since the last row, from its sum; None right after a row."""
        return loss_sum / self._draws_since_row(t) if t > self._row_step else None

    def row(self, t: int) -> tuple[dict[str, Any], nn.Module]:
        """The row of step t, and the consensus that was evaluated for it."""
        workers, ledger = self.workers, self.workers.ledger
        losses, norms = (
            float(workers.communicator.gather_workers(sums).sum())
            for sums in (workers.loss_sums, workers.norm_sums)
        )
        model, drift = workers.consensus(
            self.run.algorithm.eval_params(workers), self.run.algorithm.among(workers)
        )
        train, test = self._evaluate(model)
        draws = self._draws_since_row(t)
        seconds = self.clock.seconds - self._row_seconds
        units = self.run.batch_size * self.run.task.units()
        row = {
            "step": t,
            "epoch": self.epoch(t),
            "round": ledger.rounds,
            "lr": self.lr(max(t, 1)),
            "train_loss": losses / draws if draws else float("nan"),
            "consensus_train_loss": train["loss"],
            **{f"test_{name}": value for name, value in test.items()},
            "drift": drift,
            "g2": norms / draws if draws else float("nan"),
            "virtual_time": self._virtual_time + self._virtual_seconds(workers.local_steps),
            "payload_bytes": ledger.payload_bytes,
            "wire_bytes": self.run.wire_bytes(ledger.payload_bytes) + ledger.download_bytes,
            "download_bytes": ledger.download_bytes,
            "burst_bytes": ledger.burst.largest,
            "group_round": ledger.group_rounds,
            "group_payload_bytes": ledger.group_payload_bytes,
            "comm_seconds": ledger.comm_seconds,
            "wait_seconds": ledger.wait_seconds,
            "train_seconds": self.clock.seconds,
            self.measures.speed: units * draws / seconds if draws else 0.0,
        }
        return row, model

    def begin_row(self, t: int) -> None:
        """Let the sums of the next row begin after step t."""
        self.workers.loss_sums.zero_()
        self.workers.norm_sums.zero_()
        self._row_step, self._row_seconds = t, self.clock.seconds

    def rounds(self) -> list[dict[str, Any]]:
        """The rows of rounds.csv that have come since the last call."""
        rows = close_rounds(self.workers.ledger, self.workers.communicator)
        for row in rows:
            steps = row["local_steps"]
            self._virtual_time += self._virtual_seconds(steps)
            row["virtual_time"] = self._virtual_time
            row["local_steps"] = " ".join(map(str, steps[:1] if len(set(steps)) == 1 else steps))
        return rows

    def counters(self) -> dict[str, float]:
        """What a run that resumes has to know of the past."""
        return {
            "train_seconds": self.clock.seconds,
            "virtual_time": self._virtual_time,
            "row_step": self._row_step,
            "row_seconds": self._row_seconds,
        }

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Take over what `counters` returned."""
        self.clock.seconds = counters["train_seconds"]
        self._virtual_time = counters["virtual_time"]
        self._row_step, self._row_seconds = counters["row_step"], counters["row_seconds"]

    def _evaluate(self, model: nn.Module) -> tuple[dict[str, float], dict[str, float]]:
        """The loss and the metrics on a sample of the training data, and on the test data."""
        task, communicator = self.task, self.workers.communicator
        with self.workers.autocast():
            train = evaluate(task, model, "train", communicator)
            return train, evaluate(task, model, "test", communicator)

    def _virtual_seconds(self, local_steps: list[int]) -> float:
        """Until the slowest worker has done its steps, in seconds of the virtual clock."""
        speeds = self.run.speeds or [1.0] * self.run.workers
        return max(steps / speed for steps, speed in zip(local_steps, speeds, strict=True))

    def _draws_since_row(self, t: int) -> int:
        """Batches that all workers together have drawn since the last row."""
        drawn, workers = self.run.algorithm.batches_drawn, self.run.workers
        return drawn(t, workers) - drawn(self._row_step, workers)
