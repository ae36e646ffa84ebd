"""What a run was computed with, for its environment.json."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prsgd.config.plan import Plan, strategy
from prsgd.config.schema import Run
from prsgd.training.machine import cpu_name
from prsgd.version import __version__

TOLD = ("prsgd", "commit", "torch", "numpy", "processor", "device")  # may change a run's numbers
QUIETLY: Any = {"capture_output": True, "text": True, "timeout": 5, "check": True}


def describe(run: Run, plan: Plan) -> dict[str, Any]:
    """Versions, machine, placement and data of a run."""
    import torch

    gpu = plan.device == "cuda"
    return {
        "prsgd": __version__,
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
        "gradients": strategy(run, plan.device),
        "data": run.data.name(),
        "data_fingerprint": run.data.fingerprint(),
    }


def going_on(
    before: Mapping[str, Any], now: Mapping[str, Any], step: int
) -> tuple[dict[str, Any], str]:
    """The environment of a run that goes on after `step`, with a history of those before.

    And a line that tells what may change numbers and is new; empty where nothing is.
    """
    history = list(before.get("history", []))
    past = {key: value for key, value in before.items() if key != "history"}
    if past and past != now:
        history.append({"until_step": step, **past})
    changed = [key for key in TOLD if past.get(key) not in (None, now.get(key))]
    new = ", ".join(f"{key} {now[key]} (was {past[key]})" for key in changed)
    kept = {"history": history} if history else {}
    return {**now, **kept}, f"going on with {new}" if new else ""


def commit() -> str | None:
    """The commit of the checkout that prsgd is in, with `+` if changed; None outside of one.

    A repository that prsgd is only installed in does not count.
    """
    here = Path(__file__)
    git = ["git", "--no-optional-locks", "-C", str(here.parent)]  # a lock would outlast a kill
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], **QUIETLY)
        found = subprocess.run([*git, "describe", "--always", "--exclude=*"], **QUIETLY)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], **QUIETLY)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("+" if changed.stdout else "") or None
