"""Training in a fresh interpreter, which starts the ranks: this process computes already.

The interpreter is given a folder with what it needs to know, and leaves its answer there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import yaml

from prsgd.api.objects import Objects
from prsgd.config.plan import Job, decide
from prsgd.console import console, outlast_the_terminal
from prsgd.errors import RunFailed, UserError, why
from prsgd.files import scratch_folder, write_atomically
from prsgd.launch.elastic import end_with_parent
from prsgd.launch.job import launch
from prsgd.launch.process import CODES
from prsgd.launch.runs import owned
from prsgd.plain_yaml import read_yaml
from prsgd.run_folder import RunFolder
from prsgd.training.machine import this_machine

ORDER, ANSWER = "order.yaml", "answer.txt"


def train_apart(job: Job, objects: Objects) -> None:
    """Train to the end; what stops it before is raised."""
    order = {
        "config": job.run.as_dict(),
        "objects": objects.names(),
        "folder": str(job.folder),
        "data": str(job.data),
    }
    with scratch_folder() as scratch:
        (scratch / ORDER).write_text(yaml.safe_dump(order), encoding="utf-8")
        code = _followed(scratch)
        error = _answer(scratch / ANSWER)
    if error:
        raise UserError(error)
    if code not in (CODES["done"], CODES["diverged"]):
        status, told = RunFolder(job.folder).status()
        told = told if status in ("failed", "interrupted") else f"its process ended with {code}"
        ended = "interrupted" if status == "interrupted" else "failed"
        raise RunFailed(f"{job.folder.name} {ended}: {told}")


def _followed(scratch: Path) -> int:
    """Start the interpreter, show what it prints, and wait for its end; returns its exit code.

    An interrupt is handed on, once it has ended by it.
    """
    live = console.is_terminal and current_thread() is main_thread()
    shown: Any = {} if live else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    found = [place or str(Path.cwd()) for place in sys.path if isinstance(place, str)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
    if not live:
        environment.pop("FORCE_COLOR", None)  # which notebooks set, as if lines were a terminal
        environment["PYTHONIOENCODING"] = "utf-8"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "prsgd.api.apart", str(scratch)],
        env=environment,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        **shown,
    )
    interrupted = False
    with process:
        while True:
            try:
                for line in process.stdout or ():
                    print(line, end="", flush=True)
                process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)
            except BaseException:
                process.terminate()  # it leaves a checkpoint
                raise
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode


def _answer(path: Path) -> str:
    """Why the interpreter refused to train; empty where it did not."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(scratch: Path) -> int:
    """The interpreter's part; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    outlast_the_terminal()
    order = read_yaml((scratch / ORDER).read_bytes())
    try:
        run = _objects(order["objects"]).run(order["config"])
        plan = decide(run, this_machine(), os.environ, alone=False)
        job = Job(run, plan, Path(order["folder"]), Path(order["data"]))
        with owned(job):
            return launch(job)
    except (UserError, OSError) as error:
        write_atomically(scratch / ANSWER, why(error))
        return CODES["failed"]


def _objects(names: Mapping[str, str]) -> Objects:
    """The objects of these names; `UserError` where they cannot be imported here."""
    try:
        return Objects.named(names)
    except Exception as error:
        raise UserError(
            f"a fresh interpreter cannot import {', '.join(names.values())} "
            f"({type(error).__name__}: {why(error)}); processes=1 trains here"
        ) from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
