"""What the consensus is evaluated on: a fixed sample of a split, in fixed parts."""

from __future__ import annotations

import torch
from torch import Tensor

from prsgd.rng import Purpose, generator

CHUNK = 250  # samples in a sum; fixed, so that P does not change the sums


def chunks(x: Tensor, y: Tensor, most: int) -> list[tuple[Tensor, Tensor]]:
    """Samples (n, ...) and their targets (n, ...) in parts of 250, the last one excepted.

    Of more than `most` samples, `most` are drawn, the same at every call, and stay in order.
    """
    if len(y) > most:
        sample = generator(Purpose.EVALUATION).permutation(len(y))[:most]
        index = torch.from_numpy(sample).to(y.device).sort().values
        x, y = x[index], y[index]
    parts = (tensor.split(CHUNK) for tensor in (x, y))  # type: ignore[no-untyped-call]
    return list(zip(*parts, strict=True))
