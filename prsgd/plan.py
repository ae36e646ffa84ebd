"""The decision of how to start a run: pure, and so tested without any GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prsgd.config import Run
from prsgd.errors import Refused


@dataclass(frozen=True)
class Machine:
    """What this machine has."""

    gpus: int
    cores: int
    linux: bool
    bf16: Mapping[str, bool]  # device -> whether the hardware computes in it natively


@dataclass(frozen=True)
class Plan:
    """How to start one run. `start` is here | fork | spawn | join."""

    device: str
    processes: int
    threads: int
    precision: str
    start: str
    cores: int


@dataclass(frozen=True)
class Job:
    """One run, ready to start."""

    run: Run
    plan: Plan
    folder: Path
    data: Path  # the cache file of the set
    title: str = ""  # which of how many, in a sweep


def decide(run: Run, machine: Machine, environment: Mapping[str, str], alone: bool = True) -> Plan:
    """Everything about starting `run`.

    `alone` says that this process will start no other run: only then may it compute itself, since
    torch's threads do not survive a fork. Raises `Refused` where the machine cannot do it.
    """
    if run.device == "cuda" and not machine.gpus:
        raise Refused("device=cuda: there is no CUDA GPU here; it must be auto or cpu")
    device = "cuda" if machine.gpus and run.device != "cpu" else "cpu"
    if "TORCHELASTIC_RUN_ID" in environment:
        start = "join"
        processes = int(environment["WORLD_SIZE"])
        here = int(environment["LOCAL_WORLD_SIZE"])
        if run.processes not in ("auto", processes):
            raise Refused(f"processes={run.processes}: torchrun started {processes}; leave it out")
        if processes > run.workers:
            raise Refused(
                f"workers={run.workers}: must be at least the {processes} processes that torchrun "
                "started: each hosts one worker or more"
            )
    else:
        most = machine.gpus if device == "cuda" else machine.cores
        here = processes = min(run.workers, most) if run.processes == "auto" else run.processes
        if device == "cuda" and processes > machine.gpus:
            raise Refused(
                f"processes={processes}: must be auto or at most the {machine.gpus} GPUs that are "
                "here; a GPU hosts any number of workers"
            )
        if processes == 1 and alone:
            start = "here"
        else:
            start = "fork" if machine.linux and device == "cpu" else "spawn"
    native = "bf16" if machine.bf16[device] else "fp32"
    return Plan(
        device=device,
        processes=processes,
        threads=max(1, machine.cores // here) if run.threads == "auto" else run.threads,
        precision=native if run.precision == "auto" else run.precision,
        start=start,
        cores=machine.cores,
    )


def this_machine() -> Machine:
    """Look around, without a CUDA context and without starting torch's threads."""
    import torch

    gpus = torch.cuda.device_count()  # asks NVML
    return Machine(
        gpus=gpus,
        cores=physical_cores(),
        linux=sys.platform == "linux",
        bf16={
            "cpu": bool(_cpuinfo("flags", "Features") & {"avx512_bf16", "amx_bf16", "bf16"}),
            "cuda": gpus > 0 and _compute_capability() >= 8,
        },
    )


def _compute_capability() -> float:
    """Of the first GPU; asked of the driver's tool, since torch would make a CUDA context."""
    ask = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True)
        return float(answer.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0.0


def physical_cores() -> int:
    """The cores that this process may use, hyper-threads not counted."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:  # only Linux tells
        return os.cpu_count() or 1
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = set()
    for cpu in cpus:
        try:
            cores.add(Path(siblings.format(cpu)).read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def cpu_name() -> str:
    """The processor as Linux names it."""
    return " ".join(_cpuinfo_line("model name")) or "unknown"


def _cpuinfo(*fields: str) -> set[str]:
    return {word for field in fields for word in _cpuinfo_line(field)}


def _cpuinfo_line(field: str) -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # only Linux has it
        return []
    return next((line.split(":", 1)[1].split() for line in lines if line.startswith(field)), [])
