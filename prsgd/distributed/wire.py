"""Bytes on the wire. Pure arithmetic."""

from __future__ import annotations

BYTES_PER_NUMBER = {"fast": 4, "exact": 8}  # by `reduction`: float32, or integers of 64 bits
COLLECTIVES = {"fast": 1, "exact": 3}  # one after another in a round; exact agrees on scales first


def wire_bytes(payload: int, workers: int) -> int:
    """What a ring all-reduce of `payload` bytes makes each of N workers send: 2 (N-1)/N of it."""
    return 2 * (workers - 1) * payload // workers
