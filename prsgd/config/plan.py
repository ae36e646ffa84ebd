"""How to start a run on this machine: a pure decision, and so tested without any GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from prsgd.config.registry import tried
from prsgd.config.schema import Run
from prsgd.errors import UserError


@dataclass(frozen=True)
class Machine:
    """What this machine has."""

    gpus: int
    cores: int
    linux: bool
    bf16: Mapping[str, bool]  # device -> whether the hardware computes in it natively

    def shared_by(self, runs: int) -> Machine:
        """What each of so many runs has of it that train at the same time."""
        gpus = max(1, self.gpus // runs) if self.gpus else 0
        return replace(self, gpus=gpus, cores=max(1, self.cores // runs))


STREAMS = 8  # workers whose gradients a GPU computes at the same time, where it replays graphs


def strategy(run: Run, device: str) -> str:
    """How gradients are computed: `loop` or `graph`.

    `auto` means graphs for what was compared with a loop on a GPU: models and losses of prsgd's own
    that draw nothing at random, with fast sums.
    """
    if run.gradients != "auto":
        return run.gradients
    is_own = not tried(run) and not run.model.draws
    return "graph" if device == "cuda" and is_own and run.reduction == "fast" else "loop"


@dataclass(frozen=True)
class Plan:
    """How to start one run.

    `start` is `in_process`, `fork` or `spawn` for ranks of an agent of our own, `fresh` where a
    fresh interpreter is to be that agent, or `torchrun` where this process is a rank of somebody
    else's.
    """

    device: str
    processes: int  # P
    threads: int  # threads of each process
    precision: str
    start: str
    cores: int  # physical cores of the machine

    @property
    def has_agent(self) -> bool:
        """Whether an agent of our own starts the processes."""
        return self.start in ("fork", "spawn")


@dataclass(frozen=True)
class Screen:
    """A screen that several runs share. `bars` leads to the process that draws a bar for each run;
    without it each line says whose it is."""

    bars: Connection | None = None


@dataclass(frozen=True)
class Job:
    """One run, ready to start."""

    run: Run
    plan: Plan
    folder: Path
    data: Path  # cache file of the data set
    title: str = ""  # for the screen: the run's name and its place in a sweep
    screen: Screen | None = None  # where other runs are seen as well


def decide(
    run: Run,
    machine: Machine,
    environment: Mapping[str, str],
    alone: bool = True,
    may_fork: bool = True,
) -> Plan:
    """Everything about starting `run`; `UserError` where the machine cannot do it.

    `alone` says that this process trains no other run. Only then may it compute itself, since
    torch's threads do not survive a fork. One that computes already may not fork.
    """
    if run.device == "cuda" and not machine.gpus:
        raise UserError("device=cuda: there is no CUDA GPU here; it must be auto or cpu")
    device = "cuda" if machine.gpus and run.device != "cpu" else "cpu"
    if run.gradients == "graph" and device != "cuda":
        raise UserError(
            "gradients=graph: is for CUDA GPUs, and none is in use; it must be auto or loop"
        )
    if device == "cuda" and run.precision == "bf16" and not machine.bf16[device]:
        raise UserError(
            "precision=bf16: the GPUs here have no bf16 arithmetic, which those of compute "
            "capability 8.0 and later have; it must be auto or fp32"
        )
    if "TORCHELASTIC_RUN_ID" in environment:
        processes, here = _of_torchrun(run, environment)
        start = "torchrun"
        if device == "cuda" and 1 < machine.gpus < here:  # one that sees 1 may see its own
            raise UserError(
                f"torchrun started {here} processes on this machine, which has {machine.gpus} "
                "GPUs; each needs one of its own, and hosts any number of workers: "
                f"--nproc-per-node={machine.gpus}"
            )
    else:
        here = processes = _of_our_own(run, machine, device)
        in_process = processes == 1 and (alone or not may_fork)
        start = _start_method(machine, device, in_process, may_fork)
    native = "bf16" if machine.bf16[device] else "fp32"
    return Plan(
        device=device,
        processes=processes,
        threads=_threads(run, environment, machine.cores // here),
        precision=native if run.precision == "auto" else run.precision,
        start=start,
        cores=machine.cores,
    )


def _threads(run: Run, environment: Mapping[str, str], share: int) -> int:
    """The run's threads; for auto OMP_NUM_THREADS, unless torchrun sets it, or the cores' share."""
    if run.threads != "auto":
        return int(run.threads)
    asked = environment.get("OMP_NUM_THREADS", "")
    ours = "TORCHELASTIC_RUN_ID" not in environment and asked.isdecimal()
    return max(1, int(asked) if ours else share)


def _of_torchrun(run: Run, environment: Mapping[str, str]) -> tuple[int, int]:
    """The processes that a torchrun started, and those of them on this machine."""
    processes = int(environment["WORLD_SIZE"])
    if run.processes not in ("auto", processes):
        raise UserError(f"processes={run.processes}: torchrun started {processes}; leave it out")
    if processes > run.workers:
        raise UserError(
            f"workers={run.workers}: must be at least the {processes} processes that torchrun "
            "started: each hosts one worker or more"
        )
    return processes, int(environment["LOCAL_WORLD_SIZE"])


def _of_our_own(run: Run, machine: Machine, device: str) -> int:
    """The processes to start: one per GPU or core, unless the run says how many."""
    most = machine.gpus if device == "cuda" else machine.cores
    processes: int = min(run.workers, most) if run.processes == "auto" else run.processes
    if device == "cuda" and processes > machine.gpus:
        raise UserError(
            f"processes={processes}: must be auto or at most the {machine.gpus} GPUs that are "
            "here; a GPU hosts any number of workers"
        )
    return processes


def _start_method(machine: Machine, device: str, in_process: bool, may_fork: bool) -> str:
    if in_process:
        return "in_process"
    if not may_fork:
        return "fresh"
    return "fork" if machine.linux and device == "cpu" else "spawn"
