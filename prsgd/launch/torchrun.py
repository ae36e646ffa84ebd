"""What somebody else's torchrun says to the processes that it starts."""

from __future__ import annotations

import os
import socket

from prsgd.errors import UserError

INTERFACES = "GLOO_SOCKET_IFNAME"
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
    known = {name for _, name in socket.if_nameindex()}
    for name in filter(None, os.environ.get(INTERFACES, "").split(",")):
        if name not in known:
            raise UserError(
                f"{INTERFACES}={name}: must be a network interface of this machine; it has "
                f"{', '.join(sorted(known))}"
            )
    return int(os.environ["RANK"])
