"""The mean over the rows of all N workers, as this process's part of an all-reduce."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import ceil, log2

import torch
from torch import Tensor

AllReduce = Callable[[Tensor, str], None]  # (tensor, "sum" or "max"), in place


class Reduction(Enum):
    """fast sums in the rows' type, in whatever order they come; exact is order-free."""

    FAST = "fast"
    EXACT = "exact"


def fast_mean(
    parts: list[Tensor], workers: int, control: Tensor, all_reduce: AllReduce, buffer: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The mean over workers of each (K, D) part, and the sum over processes of `control`.

    `buffer` holds len(parts) D + len(control) numbers and is where the results live.
    """
    size = parts[0].shape[1]
    means = [buffer[i * size : (i + 1) * size] for i in range(len(parts))]
    rest = buffer[len(parts) * size :]
    for part, mean in zip(parts, means, strict=True):
        torch.sum(part, 0, out=mean)
    rest.copy_(control)
    all_reduce(buffer, "sum")
    buffer[: len(parts) * size].div_(workers)
    return means, rest


def exact_mean(
    parts: list[Tensor], workers: int, control: Tensor, all_reduce: AllReduce
) -> tuple[list[Tensor], Tensor]:
    """As `fast_mean`, but bitwise the same for any placement of the workers.

    Values become 64-bit integers with one power-of-two scale per part, agreed on by a maximum, so
    that N of them cannot overflow; integer sums do not depend on order. The resolution is
    2^(ceil(log2 N) - 62) of a part's largest magnitude. What is not finite turns the control
    numbers into infinity.
    """
    peaks = torch.stack([part.abs().max() for part in parts])
    peaks = peaks.nan_to_num(torch.inf, torch.inf).double()
    all_reduce(peaks, "max")
    control = control.double()
    all_reduce(control, "sum")
    unknown = ~torch.isfinite(peaks).all()
    bits = 62 - ceil(log2(workers)) - torch.frexp(peaks).exponent.double()
    scales = torch.exp2(bits)
    fixed = torch.stack(
        [
            (part.double() * scale).round_().long().sum(0)
            for part, scale in zip(parts, scales, strict=True)
        ]
    )
    all_reduce(fixed, "sum")
    means = [
        (total.double() / scale / workers).masked_fill_(unknown, torch.nan).to(part.dtype)
        for total, scale, part in zip(fixed, scales, parts, strict=True)
    ]
    return means, control.masked_fill(unknown, torch.inf)
