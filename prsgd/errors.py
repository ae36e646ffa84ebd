"""The errors that prsgd tells its user in one line, and what a machine lacks in one line."""

import re

LOST = "a process was lost"


class UserError(Exception):
    """What was asked for is wrong or cannot be had: the key, the value, and what is allowed."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class RunFailed(Exception):
    """A run that was started from Python ended by an error, or by a signal to its processes."""


class ProcessLost(Exception):
    """A process ended or hangs. The text begins with `LOST` and names the process if it can."""


NO_MEMORY = re.compile(r"can't allocate memory|CUDA out of memory|failed to map segment")
ASKED = re.compile(r"tried to allocate (\d+ bytes|[\d.]+ \wiB)", re.IGNORECASE)


def lack(error: BaseException) -> str:
    """What the machine lacks or refuses, in one line; empty where an error is of another kind."""
    text = " ".join(str(error).split())
    if "Too many open files" in text:
        return "too many open files; raise the limit (ulimit -n)"
    if isinstance(error, MemoryError) or NO_MEMORY.search(text):
        asked = ASKED.search(text)
        return f"out of memory{f', as {asked[1]} more were asked for' if asked else ''}"
    return text if isinstance(error, OSError) else ""


def why(error: BaseException) -> str:
    """The one line that says why something failed."""
    return lack(error) or (str(error) or type(error).__name__).splitlines()[0]
