"""Which process hosts which workers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def placement(workers: int, processes: int) -> list[range]:
    """The workers that each process hosts: contiguous, and as even as can be."""
    bounds = [workers * rank // processes for rank in range(processes + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]


def groups_of(workers: int, size: int) -> list[range]:
    """The groups of `size` successive workers."""
    return [range(start, start + size) for start in range(0, workers, size)]


def sharing(devices: Sequence[float]) -> list[int]:
    """The ranks whose device, known by a number, is that of another rank as well."""
    return [rank for rank, device in enumerate(devices) if devices.count(device) > 1]


def hosts(group: range, placed: list[range]) -> list[int]:
    """The processes that host workers of a group."""
    return [rank for rank, span in enumerate(placed) if {*group} & {*span}]
