"""Every random number is a pure function of what it is for: no state to save or to share."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The streams that must never coincide."""

    MODEL = 0
    PARTITION = 1
    ORDER = 2
    AUGMENTATION = 3
    EVALUATION = 4
    SYNTHETIC = 5
    FORWARD = 6
    OFFSET = 7
    COMPRESSION = 8
    JITTER = 9


def generator(purpose: Purpose, *where: int) -> np.random.Generator:
    """A new generator for `purpose` at `where`, such as (seed, worker, draw); always on the CPU."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((purpose, *where))))
