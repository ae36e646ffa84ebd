"""What a run needs of torch on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn

from prsgd.config.plan import Plan
from prsgd.distributed.reduction import Reduction


@contextmanager
def device_settings(plan: Plan, reduction: str) -> Iterator[None]:
    """Set torch up for a run on a GPU, and leave it as it was before.

    fp32 is computed in fp32, and not in TF32. The kernels of convolutions are those that are the
    fastest when tried. Where sums are exact they are deterministic ones instead, as all others then
    are; torch raises a RuntimeError where there is none for what a module does.
    """
    if plan.device != "cuda":
        yield
        return
    exact, tf32 = Reduction(reduction) is Reduction.EXACT, plan.precision != "fp32"
    matmul = torch.backends.cuda.matmul
    before, was_deterministic = matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with cudnn.flags(enabled=True, benchmark=not exact, deterministic=exact, allow_tf32=tf32):
        matmul.allow_tf32 = before and tf32
        torch.use_deterministic_algorithms(exact or was_deterministic)
        try:
            yield
        finally:
            matmul.allow_tf32 = before
            torch.use_deterministic_algorithms(was_deterministic)
