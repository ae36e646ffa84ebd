"""What this machine has, found without a CUDA context and without torch's threads."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
from pathlib import Path

from prsgd.config.plan import Machine
from prsgd.errors import UserError, why

BF16_CAPABILITY = 8.0  # of NVIDIA's Ampere and later
ASK_DRIVER = """
import ctypes
driver, number = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
def ask(function, *more):
    if getattr(driver, function)(*more):
        raise SystemExit(function)
    return number.value
ask("cuInit", 0)
for gpu in range(ask("cuDeviceGetCount", ctypes.byref(number))):
    device = ask("cuDeviceGet", ctypes.byref(number), gpu)
    version = [ask("cuDeviceGetAttribute", ctypes.byref(number), of, device) for of in (75, 76)]
    print("{}.{}".format(*version))
"""
LEAST_ROOM = 500e6  # bytes of addresses: for stacks, arenas and a small model


def this_machine() -> Machine:
    """GPUs, cores and number formats of this machine."""
    try:
        import torch
    except (ImportError, OSError, MemoryError) as error:
        raise UserError(
            f"torch cannot be loaded here ({why(error)}); is memory limited (ulimit -v)?"
        ) from error
    if (room := room_for_addresses()) < LEAST_ROOM:
        raise UserError(
            f"memory is limited (ulimit -v) to {room / 1e6:.0f} MB beyond what torch itself maps; "
            f"it must be {LEAST_ROOM / 1e6:.0f} MB at least"
        )
    gpus = torch.cuda.device_count()  # this asks NVML and makes no CUDA context
    return Machine(
        gpus=gpus,
        cores=physical_cores(),
        linux=sys.platform == "linux",
        bf16={
            "cpu": bool(_cpuinfo("flags", "Features") & {"avx512_bf16", "amx_bf16", "bf16"}),
            "cuda": gpus > 0 and compute_capability() >= BF16_CAPABILITY,
        },
    )


def physical_memory() -> float:
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not tell
        return math.inf


def room_for_addresses() -> float:
    """Bytes that this process may still map, by its limit on address space.

    Where they run out, the C++ libraries abort, hang or crash instead of raising an error.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not on Linux
        return math.inf
    return limit - pages * resource.getpagesize()


def compute_capability() -> float:
    """The lowest of the GPUs that this process may see; 0 where the driver does not tell.

    Another process asks, as one that has asked the driver cannot fork any more.
    """
    try:
        ask = [sys.executable, "-c", ASK_DRIVER]
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True)
        return min(map(float, answer.stdout.split()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0


def physical_cores() -> int:
    """The cores that this process may use, hyper-threads not counted."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:  # not on Linux
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
    except OSError:  # not on Linux
        return []
    return next((line.split(":", 1)[1].split() for line in lines if line.startswith(field)), [])
