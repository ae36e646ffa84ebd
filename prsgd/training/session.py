"""One run in training: its workers, measurements, checkpoints and trackers together."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import nn

from prsgd.config.plan import Job
from prsgd.distributed.pending import Arriving
from prsgd.run_folder import RunFolder
from prsgd.tasks.base import Bound
from prsgd.training.checkpoint import Checkpoints
from prsgd.training.checkpoint_files import save_tensors
from prsgd.training.clock import Clock
from prsgd.training.interrupt import signal_of
from prsgd.training.metrics import Metrics
from prsgd.training.trackers.base import Outcome, Progress, Tracker
from prsgd.training.workers import RowWorkers

CODED_MOMENTS = (
    "AdamW's second moments are coded too: where one comes out as 0 a step divides by eps; "
    "momentum_at_sync=keep sends none"
)
SILENT_GRADIENTS = 32  # of all workers, after which all processes exchange control numbers


class Heard(NamedTuple):
    """What all processes said in step t, summed over them."""

    t: int
    loss_sum: float  # of the losses since the last row
    signal: float  # the weights of signals


class Session:
    """What the training loop asks for. Every process takes part; the main one writes."""

    def __init__(self, job: Job, workers: RowWorkers, task: Bound, trackers: list[Tracker]) -> None:
        self.job = job
        self.run = job.run
        self.workers = workers
        self.trackers = trackers
        self.communicator = workers.communicator
        self.clock = Clock(self.communicator.clock)
        folder = RunFolder(job.folder)
        self.metrics = Metrics(self.run, workers, task, self.clock, folder.version)
        self.steps = self.metrics.info.steps  # T
        self.checkpoints = Checkpoints(folder, workers, self.metrics, self.run.checkpoint_seconds)
        self.judged = False  # whether it has been said that the run learns nothing, if it does not
        self.silent_steps = max(1, SILENT_GRADIENTS // self.run.workers)
        self._said: tuple[int, Arriving] | None = None  # in which step, and what, in the last round
        self._spoken_at = 0  # step

    def resume(self) -> int:
        """Take up the newest checkpoint, or start anew; returns the step to go on from."""
        self.run.algorithm.begin(self.metrics.info, self.workers)
        step, notes = self.checkpoints.resume()
        for note in notes:
            self.note(note)
        return step

    def note(self, line: str) -> None:
        """Something that the user should know."""
        for tracker in self.trackers:
            tracker.note(line)

    def start(self, step: int) -> None:
        """Training goes on after `step`."""
        self._spoken_at = step
        if warning := self.run.algorithm.warning(self.metrics.info):
            self.note(warning)
        averages = getattr(self.run.algorithm, "momentum_at_sync", "keep") == "average"
        if self.workers.differences and averages and "v" in self.workers.optimizer.moments:
            self.note(CODED_MOMENTS)
        for tracker in self.trackers:
            tracker.start(self.job, self.steps, step, self.workers.ledger)

    def measure(self, t: int) -> Heard:
        """Evaluate the consensus after step t, log a row, and keep a checkpoint where one is due.

        What is under way is waited for, and used when it is due. The loss that is heard is NaN
        where the state or the loss of the consensus is not finite; then there is no checkpoint and
        no saved model.
        """
        self.workers.settle()
        with self.clock.paused():
            heard = self.workers.ledger.control_of(t)
            self._log_rounds()
            row, model = self.metrics.row(t)
            due = self.communicator.is_main and self.checkpoints.due(t)
            control, [save] = self.communicator.sync_control(self.workers.control(), due)
            is_finite = self.workers.is_finite() and isfinite(row["consensus_train_loss"])
            if not is_finite or not (heard is None or all(map(isfinite, heard.tolist()))):
                control[0] = torch.nan
            self.metrics.begin_row(t)
            for tracker in self.trackers:
                tracker.log(row)
            self._warn_of_chance(row)
            if control[0].isfinite():
                if t == self.steps and self.communicator.is_main:
                    self._save_model(model)
                if save:
                    self.checkpoints.save(t)
        self._said, self._spoken_at = None, t
        return Heard(t, *control.tolist())

    def _warn_of_chance(self, row: dict[str, Any]) -> None:
        """Say once, after an epoch, that what was learned is no better than guessing."""
        is_early = row["epoch"] < 1 and row["step"] < self.steps
        if not self.trackers or self.judged or is_early:
            return
        self.judged = True
        loss, lr = row["consensus_train_loss"], self.run.lr
        chance = self.run.task.chance(self.run.data)
        if chance is not None and loss > chance:
            self.note(
                f"after epoch {row['epoch']:.3g} the training loss, {loss:.3f}, is no better than "
                f"a guess's, {chance:.3f}: try other rates than lr={lr:g}, as by "
                f"-m lr={lr / 100:g},{lr / 10:g}"
            )

    def _save_model(self, model: nn.Module) -> None:
        """Write what `load_state_dict(load_file(path))` takes; a tied tensor has all its names."""
        path, whole = self.job.folder / "model.safetensors", torch.contiguous_format
        state = model.state_dict()
        save_tensors(
            {name: own.cpu().clone(memory_format=whole) for name, own in state.items()}, path
        )

    def diverged(self, t: int, heard: Heard) -> Outcome:
        """The run ends in step t, as its loss is not finite; a last row says where."""
        if not self.metrics.due(t):
            self.measure(t)
        return Outcome("diverged", f"the training loss is {heard.loss_sum} at step {heard.t}")

    def interrupted(self, t: int, weight: float) -> Outcome:
        """The run ends in step t by a signal, and keeps everything that step t + 1 needs."""
        self.workers.settle()
        with self.clock.paused():
            self._log_rounds()
            self.checkpoints.save(t)
        stopped_by = signal_of(weight)
        return Outcome("interrupted", f"{stopped_by.name} at step {t}", stopped_by)

    def done(self) -> Outcome:
        """The run has come to its end. It may have come there before, and not be finite there."""
        if self.workers.is_finite():
            return Outcome("done")
        return Outcome("diverged", f"the model is not finite at step {self.steps}")

    def listen(self, t: int) -> Heard | None:
        """What all processes have said by step t; None where nothing new is known.

        What they say in a round is read in the next one, so that nobody waits for a GPU. Where
        there was no round for long they speak without one.
        """
        said = self.workers.ledger.control_of(t)
        if said is not None:
            before, self._said, self._spoken_at = self._said, (t, said), t
            return before and Heard(before[0], *before[1].tolist())
        if t - self._spoken_at < self.silent_steps:
            return None
        self._said, self._spoken_at = None, t  # what is said now contains it
        control, _ = self.communicator.sync_control(self.workers.control())
        return Heard(t, *control.tolist())

    def progress(self, t: int, loss: float | None) -> None:
        """Show that step t is done; `loss` is the last that is known."""
        if self.trackers:
            rounds = self.workers.ledger.count
            progress = Progress(t, self.metrics.epoch(t), rounds, loss)
            for tracker in self.trackers:
                tracker.step(progress)

    def finish(self, outcome: Outcome) -> None:
        """Tell all trackers how the run ended."""
        for tracker in self.trackers:
            tracker.finish(outcome)

    def _log_rounds(self) -> None:
        rows = self.metrics.rounds()
        for tracker in self.trackers:
            tracker.log_rounds(rows)
