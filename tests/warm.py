"""A process that has the libraries loaded and forks one for each command line it reads.

A line is JSON: what subprocess.run takes and the two files to write to. What is written back is
the exit code, negative for a signal, and the seconds of the CPU that were used. Of prsgd nothing
is loaded beforehand.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import sys
import threading
import traceback

import hydra  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import torch  # noqa: F401


def become(command: dict) -> None:
    """Make of this forked process one that is about to run `python -m prsgd`."""
    for stream, path in enumerate((os.devnull, command["out"], command["err"])):
        opened = os.open(path, os.O_WRONLY if stream else os.O_RDONLY)
        os.dup2(opened, stream)
        os.close(opened)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    places = command["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [command["cwd"], *filter(None, places)]
    sys.argv[1:] = command["arguments"]
    signal.alarm(command["timeout"])


def carry_out() -> int:
    """The exit code of the command line."""
    try:
        runpy.run_module("prsgd", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    return 1


gc.freeze()
for line in sys.stdin:
    if not (child := os.fork()):
        become(json.loads(line))
        code = carry_out()
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)  # to take the libraries down object by object would cost a second
    _, status, used = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)
