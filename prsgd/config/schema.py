"""The keys of a run, and what follows from them alone.

The class that a group's `_target_` names is that group's schema. A default here is part of every
run's name, which omits the keys that have it: it never changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from prsgd.algorithms.base import Algorithm
from prsgd.algorithms.info import RunInfo
from prsgd.algorithms.participation import taking_part
from prsgd.config.registry import description
from prsgd.data.base import DataSet
from prsgd.distributed.compression import Compression
from prsgd.errors import UserError
from prsgd.fields import (
    auto_or_whole,
    choice,
    flag,
    fraction,
    groups,
    key,
    momentum_at_sync,
    non_negative,
    positive,
    positives,
    share,
    share_or_progress,
    text,
    whole,
    wholes,
)
from prsgd.measures import Measures
from prsgd.models import Model, build_by_name
from prsgd.schedule import Schedule
from prsgd.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

MAX_DRAWS = 1e15  # batches of a run: float64 still counts them exactly


def _with_adamw(keys: Mapping[str, Any]) -> bool:
    return bool(keys["optimiser"] == "adamw")


def _are_betas(values: list[float]) -> bool:
    return len(values) == 2 and all(0 <= v < 1 for v in values)


def _is_digest(value: str) -> bool:
    return value == "auto" or bool(re.fullmatch("[0-9a-f]{64}", value))


# conf/algorithm/*.yaml copies these keys into the algorithm, whose copy decides the curve.
COPIED: Any = {"decides_curve": False}
# These keys say where a run is computed and recorded, and change nothing in its curve.
PLACE: Any = {"decides_curve": False}


@dataclass
class Settings:
    """The top-level keys."""

    workers: int = whole(4, 1)
    interval: int = whole(8, 1, **COPIED)
    fragments: int = whole(1, 1, **COPIED)
    delay: int = whole(0, 0, **COPIED)
    merge: Any = share_or_progress(**COPIED)
    participation: float = share(1.0, **COPIED)
    groups: dict[int, int] | None = groups(**COPIED)
    local_steps: list[int] = wholes(**COPIED)
    speeds: list[float] = positives()
    epochs: float = positive(20.0)
    batch_size: int = whole(32, 1)
    remainder: str = choice("carry", "carry", "drop")
    lr: float = positive(0.4)
    optimiser: str = choice("sgd", "sgd", "adamw")
    momentum: float = fraction(0.0, one=False)
    nesterov: bool = flag(False)
    momentum_at_sync: str = momentum_at_sync(**COPIED)
    betas: list[float] = key(
        [0.9, 0.999],
        "two numbers from 0 up to but not including 1",
        _are_betas,
        decides_curve=_with_adamw,
    )
    eps: float = positive(1e-8, decides_curve=_with_adamw)
    weight_decay: float = non_negative(1e-4)
    decayed: str = choice("all", "all", "matrices")
    clip: float = non_negative(0.0)
    accumulate: int = whole(1, 1)
    evaluate_every: float = positive(1.0)
    evaluate_samples: int = whole(10_000, 1)
    seed: int = whole(0, 0)
    start: str = text("auto", "auto or a safetensors file", **PLACE)
    start_sha256: str = key("auto", "auto or 64 hexadecimal digits", _is_digest)
    precision: str = choice("auto", "auto", "fp32", "bf16")
    reduction: str = choice("fast", "fast", "exact")
    device: str = choice("auto", "auto", "cpu", "cuda", **PLACE)
    gradients: str = choice("auto", "auto", "loop", "graph", **PLACE)
    processes: Any = auto_or_whole(1, **PLACE)
    threads: Any = auto_or_whole(1, **PLACE)
    restarts: int = whole(3, 0, **PLACE)
    timeout: float = positive(300.0, **PLACE)
    checkpoint_seconds: float = non_negative(30.0, **PLACE)
    out: str = text("runs", "a folder", **PLACE)
    profile: bool = flag(False, **PLACE)
    tracker: list[str] = key(
        [],
        "names among tensorboard, wandb and mlflow, as in [wandb]",
        lambda names: {*names} <= {"tensorboard", "wandb", "mlflow"},
        **PLACE,
    )
    plugins: list[str] = key(
        [],
        "names of packages, as in [mine]",
        lambda names: all(map(str.isidentifier, names)),
        **PLACE,
    )


GROUPS: dict[str, type] = {
    "algorithm": Algorithm,
    "model": Model,
    "data": DataSet,
    "schedule": Schedule,
    "task": Task,
    "compression": Compression,
}
NAMELESS = {"task": "image_classification", "compression": "none"}  # choices that no name has


def with_groups(config: Mapping[str, Any]) -> dict[str, Any]:
    """A plain configuration with the choices that an older record does not name."""
    return {**{group: {"name": name} for group, name in NAMELESS.items()}, **config}


@dataclass(kw_only=True)
class Run(Settings):
    """One run, checked: everything but the data themselves."""

    algorithm: Algorithm
    model: Model
    data: DataSet
    schedule: Schedule
    task: Task
    compression: Compression

    def samples(self) -> int:
        """n: the training samples, of which an epoch draws as many."""
        return self.task.samples(self.data)

    def measures(self) -> Measures:
        """What is measured, and what progress is counted in."""
        return self.task.measures(self.data)

    def build_model(self) -> nn.Module:
        """A model; its parameters are drawn from torch's default generator."""
        return build_by_name(self.model, self.task.facts(self.data))

    def steps_per_epoch(self, samples: int) -> Fraction:
        """Steps per worker in which all together draw `samples` images, less what is dropped."""
        if self.workers > samples:
            raise UserError(
                f"workers={self.workers}: must be at most the {samples} training {self.task.sample}"
            )
        if self.remainder == "carry":
            return Fraction(samples, self.workers * self.batch_size)
        if self.batch_size > samples // self.workers:
            raise UserError(
                f"batch_size={self.batch_size}: must be at most {samples // self.workers}, a "
                f"worker's part of {samples} training {self.task.sample} "
                f"(workers={self.workers}), with remainder=drop"
            )
        if self.data.partition == "shared":
            return Fraction(samples // (self.workers * self.batch_size))
        return Fraction(samples // self.workers // self.batch_size)

    def drawn_per_epoch(self, samples: int) -> int:
        """Of the training samples, those that are drawn in an epoch: all but what is dropped."""
        return int(self.steps_per_epoch(samples) * self.workers * self.batch_size)

    def steps(self, samples: int) -> int:
        """T: the steps of the busiest worker in the whole run."""
        wanted = Fraction(self.epochs) * self.steps_per_epoch(samples)
        if wanted * self.workers > MAX_DRAWS:
            raise UserError(
                f"epochs={self.epochs:g}: must be fewer; nobody can draw so many batches"
            )
        draws = max(1, round(wanted)) * self.workers
        steps = range(1, draws + 1)
        drawn_until = bisect_left(
            steps, draws, key=lambda t: self.algorithm.batches_drawn(t, self.workers)
        )
        return steps[drawn_until]

    def info(self, samples: int) -> RunInfo:
        """What the algorithm is told of the run."""
        steps = self.steps(samples)
        return RunInfo(
            workers=self.workers,
            steps=steps,
            steps_per_epoch=float(self.steps_per_epoch(samples)),
            lr=lambda t: self.schedule.lr(t, steps, self.lr),
            iid=self.data.partition in ("shared", "iid"),
            seed=self.seed,
        )

    def wire_bytes(self, payload: int) -> int:
        """What a worker that takes part sends, so that all of those have the mean of payloads."""
        return self.compression.wire_bytes(payload, taking_part(self.participation, self.workers))

    @property
    def moments(self) -> int:
        """How many vectors (D,) the optimiser keeps for each worker."""
        return 2 if self.optimiser == "adamw" else int(self.momentum > 0)

    def samples_per_step(self, steps: int) -> float:
        """Samples that all workers together draw in a step, on average over T = `steps` steps."""
        return self.algorithm.batches_drawn(steps, self.workers) * self.batch_size / steps

    def units_per_step(self, steps: int) -> float:
        """The same in the unit of progress: images, tokens."""
        return self.samples_per_step(steps) * self.task.units()

    def as_dict(self) -> dict[str, Any]:
        """The plain mapping that stands in a record; `build_run` takes it back."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(Settings)},
            **{group: description(group, getattr(self, group)) for group in GROUPS},
        }
