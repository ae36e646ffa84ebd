"""What a run was computed with, for its environment.json."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prsgd.config.plan import Plan
from prsgd.config.schema import Run
from prsgd.training.machine import cpu_name


def describe(run: Run, plan: Plan) -> dict[str, Any]:
    """Versions, machine, placement and data of a run."""
    import torch

    gpu = plan.device == "cuda"
    return {
        "prsgd": version("prsgd"),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "hydra-core", "safetensors")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "cores": plan.cores,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "processes": plan.processes,
        "threads": plan.threads,
        "precision": plan.precision,
        "data": run.data.name(),
        "data_fingerprint": run.data.fingerprint(),
    }


def commit() -> str | None:
    """The commit of the checkout that prsgd is in, with `+` if changed; None outside of one."""
    try:
        here = Path(__file__).parent
        git = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
        found = subprocess.run(git, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
