"""What somebody else's torchrun says to the processes that it starts."""

from __future__ import annotations

import os

from prsgd.errors import UserError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def torchrun_rank() -> int | None:
    """The rank of this process; None where no torchrun started it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    for name in NUMBERS:
        if not os.environ.get(name, "").isdecimal():
            raise UserError(
                f"TORCHELASTIC_RUN_ID is set, as torchrun does, but {name} is no number; unset the "
                "one, or start by torchrun"
            )
    return int(os.environ["RANK"])
