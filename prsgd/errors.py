"""The two errors that prsgd tells its user in one line."""

LOST = "a process was lost"


class UserError(Exception):
    """What was asked for is wrong or cannot be had: the key, the value, and what is allowed."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


class ProcessLost(Exception):
    """A process ended or hangs. The text begins with `LOST` and names the process if it can."""
