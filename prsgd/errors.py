"""The one exception whose text is meant for the user."""


class Refused(Exception):
    """What was asked for is wrong or cannot be had; one line says what, and what would do."""
