"""The console script. Help and errors answer at once, as torch is imported only to compute."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from importlib import import_module

from prsgd.console import outlast_the_terminal, print_error
from prsgd.errors import UserError, lack

COMMANDS = (
    *("train", "run", "figures", "report", "verify", "advise", "algorithms", "data", "sample"),
    *("completion", "help"),
)
USER_ERROR = 2  # the exit code of a mistake in what the user gave
FAILED = 1


def main() -> None:
    """Carry out the command line; exits with the code that `help.OVERVIEW` documents."""
    outlast_the_terminal()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the profiler's own log
    os.environ["MPLBACKEND"] = "agg"  # figures go into files; a notebook's backend may not be here
    try:
        code = dispatch(sys.argv[1:])
    except UserError as error:
        print_error(str(error))
        code = USER_ERROR
    except (OSError, MemoryError, RuntimeError) as error:
        if not (line := lack(error)):
            raise
        print_error(line)
        code = FAILED
    except KeyboardInterrupt:
        print_error("interrupted before anything was trained")
        code = 128 + signal.SIGINT
    sys.stdout.flush()
    sys.exit(code)


def dispatch(arguments: list[str]) -> int:
    """Carry out one command; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        from prsgd.cli.help import OVERVIEW

        print(OVERVIEW, end="")
        return 0
    if arguments[0] == "--version":
        from prsgd import __version__

        print(f"prsgd {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "help":
        return dispatch([*rest[:1], "--help"])
    if command == "complete":  # asked by what `prsgd completion` prints
        from prsgd.cli.completion import completed

        print(*completed(" ".join(rest), COMMANDS), sep="\n")
        return 0
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        allowed = ", ".join(COMMANDS)
        raise UserError(f"{command}: there is no such command; allowed are {allowed}{hint}")
    code: int = import_module(f"prsgd.cli.{command}").main(rest)
    return code
