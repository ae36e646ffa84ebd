"""The global generators of torch, NumPy and Python, which code of a user's own may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def generators_restored(seed: int) -> Iterator[None]:
    """Seed them, and leave them as they were before."""
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % (1 << 32))
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)


def generator_states() -> tuple[Any, ...]:
    """Their states, as values that can be compared."""
    _, key, position, *rest = np.random.get_state()
    torchs = torch.get_rng_state().numpy().tobytes()
    return torchs, random.getstate(), np.asarray(key).tobytes(), position, *rest
