"""The GPUs of runs that train at the same time: each has its own, or shares one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus_of(slot: int, at_once: int, names: list[str]) -> list[str]:
    """Those of one of `at_once` runs, of all that there are."""
    each = max(1, len(names) // at_once)
    return [names[(slot * each + k) % len(names)] for k in range(each)] if names else []


@contextmanager
def seen_by(slot: int, at_once: int) -> Iterator[None]:
    """What is started in here sees the GPUs of one of `at_once` runs only."""
    import torch

    before = os.environ.get(VISIBLE)
    there = [str(number) for number in range(torch.cuda.device_count())]
    names = before.split(",") if before else there
    if not there or at_once == 1:
        yield
        return
    os.environ[VISIBLE] = ",".join(gpus_of(slot, at_once, names))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
