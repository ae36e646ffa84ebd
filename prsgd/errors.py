"""The exceptions whose text is meant for the user."""


class Refused(Exception):
    """What was asked for is wrong or cannot be had; one line says what, and what would do."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())


LOST = "a process was lost"


class Lost(Exception):
    """Another process does not answer any more; the text begins with `LOST` and says which, as far
    as can be known."""
