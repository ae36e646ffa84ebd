"""What a GPU has not done yet: seconds that are not over, and numbers on their way to the CPU.

Asking for either at once would make the CPU wait for the GPU, and then the GPU for the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Stopwatch:
    """Seconds of pieces of work. On a GPU the work must be done before they are read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what is launched in here."""
        start = self._now()
        yield
        self._spans.append((start, self._now()))

    @property
    def seconds(self) -> float:
        if self._device.type == "cuda":
            return float(sum(start.elapsed_time(end) for start, end in self._spans)) / 1000
        return float(sum(end - start for start, end in self._spans))

    def _now(self) -> Any:
        if self._device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


class Arriving:
    """The numbers of a tensor as they are now; only who reads them waits for them."""

    def __init__(self, numbers: Tensor) -> None:
        self._arrived: Any = None
        if numbers.device.type == "cpu":
            self._numbers = numbers.clone()
        else:
            self._numbers = torch.empty_like(numbers, device="cpu").pin_memory()
            self._numbers.copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def tolist(self) -> list[float]:
        if self._arrived:
            self._arrived.synchronize()
        return self._numbers.tolist()
