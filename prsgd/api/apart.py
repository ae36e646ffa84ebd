"""Training in a fresh interpreter, which starts the ranks: this process computes already.

The interpreter is given a folder with what it needs to know, and leaves its answer there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from prsgd.api.objects import Objects
from prsgd.config.plan import Job, decide
from prsgd.console import console, outlast_the_terminal
from prsgd.errors import RunFailed, UserError, why
from prsgd.files import scratch_folder
from prsgd.launch.elastic import end_with_parent
from prsgd.launch.job import launch
from prsgd.launch.process import CODES
from prsgd.launch.sweep import owned
from prsgd.run_folder import RunFolder
from prsgd.training.machine import this_machine

ORDER, ANSWER = "job.json", "answer.json"


def train_apart(job: Job, objects: Objects) -> None:
    """Train to the end; what stops it before is raised."""
    order = {
        "config": job.run.as_dict(),
        "objects": objects.names(),
        "folder": str(job.folder),
        "data": str(job.data),
    }
    with scratch_folder() as scratch:
        (scratch / ORDER).write_text(json.dumps(order))
        code = _followed(scratch)
        answer = _answer(scratch / ANSWER)
    if error := answer.get("error"):
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
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path),
    }
    if not live:
        environment.pop("FORCE_COLOR", None)  # which notebooks set, as if lines were a terminal
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "prsgd.api.apart", str(scratch)],
        env=environment,
        text=True,
        start_new_session=True,
        **shown,
    )
    interrupted = False
    with process:
        while True:
            try:
                for line in process.stdout or ():
                    sys.stdout.write(line)
                    sys.stdout.flush()
                process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode


def _answer(path: Path) -> dict[str, Any]:
    """What the interpreter left; nothing where it was killed."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def main(scratch: Path) -> int:
    """The interpreter's part; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    outlast_the_terminal()
    order = json.loads((scratch / ORDER).read_text())
    try:
        run = Objects.named(order["objects"] or {}).run(order["config"])
        plan = decide(run, this_machine(), os.environ, alone=False)
        job = Job(run, plan, Path(order["folder"]), Path(order["data"]))
        with owned(job):
            return launch(job)
    except (UserError, OSError) as error:
        (scratch / ANSWER).write_text(json.dumps({"error": why(error)}))
        return CODES["failed"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
