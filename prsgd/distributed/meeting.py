"""How the ranks of an agent of our own find each other: nothing of theirs listens to a network."""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import torch.distributed as dist


@dataclass(frozen=True)
class Meeting:
    """A folder on a local disk for a store in a file, and memory that the ranks share."""

    folder: Path
    beats: Any  # (2 P,) integers: collectives and step of each rank
    here: Any  # (2 P,) integers: the start that each rank belongs to, and its process; 0: it left

    @staticmethod
    def of(processes: int, folder: Path) -> Meeting:
        return Meeting(folder, RawArray("q", 2 * processes), RawArray("q", 2 * processes))

    def join(self, rank: int, processes: int, **options: Any) -> None:
        """Make the process group. Ranks that are started again meet at a fresh store."""
        self.here[2 * rank + 1] = os.getpid()
        self.here[2 * rank] = _start()  # last, as it makes the process count
        path = str(self.folder / f"ranks-{_start()}")
        store = dist.FileStore(path, processes)  # type: ignore[attr-defined]
        os.environ |= {"GLOO_SOCKET_IFNAME": loopback(), "NCCL_SOCKET_IFNAME": loopback()}
        dist.init_process_group(store=store, rank=rank, world_size=processes, **options)

    def leave(self, rank: int) -> None:
        """This rank's work is done, and its end is no loss."""
        self.here[2 * rank + 1] = 0

    def gone(self) -> list[int]:
        """The ranks of this start whose processes have ended in another way."""
        joined = enumerate(zip(self.here[::2], self.here[1::2], strict=True))
        return [
            rank for rank, (start, pid) in joined if start == _start() and pid and _has_ended(pid)
        ]


def _start() -> int:
    """How many times the agent has started its ranks again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for its parent to see that it is."""
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, 0)
            return False
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended, _, _ = select.select([descriptor], [], [], 0)
    os.close(descriptor)
    return bool(ended)


def loopback() -> str:
    """The interface that leads to this machine only: lo, or lo0 on a Mac."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
