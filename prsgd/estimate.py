"""What a run will cost, before it starts: for --dry-run."""

from __future__ import annotations

import time
from dataclasses import dataclass

from prsgd.config import Run
from prsgd.plan import Plan

GRADIENTS = 5


@dataclass
class Tally:
    """Workers that only count what they are told to send: satisfies `algorithms.base.Workers`."""

    parameters: int
    momentum: bool
    rounds: int = 0
    payload_bytes: int = 0

    def descend(self, lr: float) -> None:
        pass

    def average(self, moments: str) -> None:
        self._send(2 if self.momentum and moments == "average" else 1)

    def average_gradients(self) -> None:
        self._send(1)

    def _send(self, vectors: int) -> None:
        self.rounds += 1
        self.payload_bytes += 4 * vectors * self.parameters


def tally(run: Run, steps: int) -> Tally:
    """The communication of the whole run: the algorithm itself, on workers that only count."""
    model = run.model.build(run.data.size, run.data.class_count())
    counted = Tally(sum(p.numel() for p in model.parameters()), run.momentum > 0)
    for t in range(1, steps + 1):
        run.algorithm.step(t, run.lr, counted)
    run.algorithm.finish(steps, counted)
    return counted


def seconds(run: Run, plan: Plan, steps: int) -> float:
    """Training time from a few gradients measured here; without communication and evaluation."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    bf16 = plan.precision == "bf16"
    model = run.model.build(run.data.size, run.data.class_count())
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(run.batch_size, run.data.size, run.data.size, 3, device=device)
    y = torch.zeros(run.batch_size, dtype=torch.long, device=device)
    laps = []
    for _ in range(GRADIENTS):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(x.permute(0, 3, 1, 2)), y)
        torch.autograd.backward(loss)
        loss.item()
        laps.append(time.perf_counter() - start)
    rows = -(-run.workers // plan.processes)
    return steps * rows * sorted(laps)[GRADIENTS // 2]
