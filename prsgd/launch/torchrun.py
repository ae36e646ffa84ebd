"""What somebody else's torchrun says to the processes that it starts."""

from __future__ import annotations

import os


def torchrun_rank() -> int | None:
    """The rank of this process; None where no torchrun started it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None
