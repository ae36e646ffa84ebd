"""What a run needs of torch on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from torch.backends import cudnn

from prsgd.config.plan import Plan
from prsgd.distributed.reduction import Reduction

WITHOUT_TF32 = {"allow_tf32": False, "fp32_precision": "ieee"}  # by either name of the setting
_IN_USE = Lock()


@contextmanager
def device_settings(plan: Plan, reduction: str) -> Iterator[None]:
    """Set torch up for a run on a GPU, and leave it as it was before.

    fp32 is computed in fp32, and not in TF32. The kernels of convolutions are those that are the
    fastest when tried. Where sums are exact they are deterministic ones instead, as all others then
    are; torch raises a RuntimeError where there is none for what a module does. All this is the
    process's: runs in several threads follow one another.
    """
    if plan.device != "cuda":
        yield
        return
    exact, tf32 = Reduction(reduction) is Reduction.EXACT, plan.precision != "fp32"
    flags = {"enabled": True, "benchmark": not exact, "deterministic": exact, "allow_tf32": tf32}
    with _IN_USE, cudnn.flags(**flags), _matmul(tf32):
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        if exact:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(exact or was_deterministic)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic)


@contextmanager
def _matmul(tf32: bool) -> Iterator[None]:
    """TF32 in products of matrices as the program has it, or without it.

    Newer versions of torch have two names for this setting, and refuse the one that the program did
    not use.
    """
    matmul, name = torch.backends.cuda.matmul, "allow_tf32"
    try:
        before = matmul.allow_tf32
    except RuntimeError:
        name, before = "fp32_precision", matmul.fp32_precision
    if not tf32:
        setattr(matmul, name, WITHOUT_TF32[name])
    try:
        yield
    finally:
        setattr(matmul, name, before)
