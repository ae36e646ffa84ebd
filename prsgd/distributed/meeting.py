"""How the ranks of an agent of our own find each other: nothing of theirs listens to a network."""

from __future__ import annotations

import os
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

    @staticmethod
    def of(processes: int, folder: Path) -> Meeting:
        return Meeting(folder, RawArray("q", 2 * processes))

    def join(self, backend: str, rank: int, processes: int, **options: Any) -> None:
        """Make the process group. Ranks that are started again meet at a fresh store."""
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        path = str(self.folder / f"ranks-{start}")
        store = dist.FileStore(path, processes)  # type: ignore[attr-defined]
        os.environ |= {"GLOO_SOCKET_IFNAME": loopback(), "NCCL_SOCKET_IFNAME": loopback()}
        dist.init_process_group(backend, store=store, rank=rank, world_size=processes, **options)


def loopback() -> str:
    """The interface that leads to this machine only: lo, or lo0 on a Mac."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
