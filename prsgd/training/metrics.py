"""What is measured: when a row of metrics.csv is due, and what stands in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prsgd.config.schema import Run
from prsgd.data.cache import Images
from prsgd.distributed.rounds import close_rounds
from prsgd.distributed.wire import wire_bytes
from prsgd.rng import Purpose, generator
from prsgd.training.clock import Clock
from prsgd.training.evaluate import evaluate
from prsgd.training.workers import RowWorkers

CONSENSUS_IMAGES = 10_000  # training images on which the consensus is evaluated


class Metrics:
    """The measurements of one run. Every process takes part in them."""

    def __init__(
        self, run: Run, workers: RowWorkers, images: Images, clock: Clock, version: int
    ) -> None:
        """`version` is that of the record: an epoch of version 1 lacks what is dropped."""
        self.run = run
        self.workers = workers
        self.images = images
        self.clock = clock
        n = len(images.train_labels)
        self.info = run.info(n)
        self._epoch_images = run.drawn_per_epoch(n) if version == 1 else n
        sample = generator(Purpose.EVALUATION).permutation(n)[:CONSENSUS_IMAGES]
        self._sample = torch.from_numpy(sample).to(images.train_labels.device).sort().values
        self._virtual_time = 0.0  # seconds of the virtual clock at the last round
        self._row_step = 0
        self._row_seconds = 0.0

    def due(self, t: int) -> bool:
        """Whether a row belongs to step t: after each epoch, and at the end."""
        return t == self.info.steps or int(self.epoch(t)) > int(self.epoch(t - 1))

    def epoch(self, t: int) -> float:
        """Passes over the data that all workers together have made."""
        workers = self.run.workers
        drawn = self.run.algorithm.batches_drawn(t, workers)
        return drawn * self.run.batch_size / self._epoch_images

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
        model, drift = workers.consensus(self.run.algorithm.eval_params(workers))
        train_loss, test_loss, test_accuracy = self._evaluate(model)
        draws = self._draws_since_row(t)
        seconds = self.clock.seconds - self._row_seconds
        row = {
            "step": t,
            "epoch": self.epoch(t),
            "round": ledger.rounds,
            "lr": self.lr(max(t, 1)),
            "train_loss": losses / draws if draws else float("nan"),
            "consensus_train_loss": train_loss,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "drift": drift,
            "g2": norms / draws if draws else float("nan"),
            "virtual_time": self._virtual_time + self._virtual_seconds(workers.local_steps),
            "payload_bytes": ledger.payload_bytes,
            "wire_bytes": wire_bytes(ledger.payload_bytes, self.run.workers),
            "group_round": ledger.group_rounds,
            "group_payload_bytes": ledger.group_payload_bytes,
            "comm_seconds": ledger.comm_seconds,
            "train_seconds": self.clock.seconds,
            "images_per_second": self.run.batch_size * draws / seconds if draws else 0.0,
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

    def _evaluate(self, model: nn.Module) -> tuple[float, float, float]:
        """Loss on the sample of training images; loss and accuracy on the test images."""
        images, communicator = self.images, self.workers.communicator

        def predict(x: Tensor) -> Tensor:
            with self.workers.autocast():
                logits: Tensor = model(images.normalised(x))
            return logits

        train = images.train_images[self._sample], images.train_labels[self._sample]
        train_loss, _ = evaluate(predict, *train, communicator)
        test = evaluate(predict, images.test_images, images.test_labels, communicator)
        return train_loss, *test

    def _virtual_seconds(self, local_steps: list[int]) -> float:
        """Until the slowest worker has done its steps, in seconds of the virtual clock."""
        speeds = self.run.speeds or [1.0] * self.run.workers
        return max(steps / speed for steps, speed in zip(local_steps, speeds, strict=True))

    def _draws_since_row(self, t: int) -> int:
        """Batches that all workers together have drawn since the last row."""
        drawn, workers = self.run.algorithm.batches_drawn, self.run.workers
        return drawn(t, workers) - drawn(self._row_step, workers)
