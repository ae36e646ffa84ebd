"""A GPU of tensors without data, on a machine that has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from prsgd.tasks.base import Nest
from prsgd.training.gradients import Loop
from prsgd.training.workers import RowWorkers

CUDA = torch.device("cuda", 0)


class Event:
    """Of a fake GPU, which has done everything by the time that it is asked."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.is_waited_for = False

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        self.is_waited_for = True

    def elapsed_time(self, end: Event) -> float:
        return 250.0  # milliseconds


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One GPU of tensors without data. Its backward pass, which no fake has, leaves zeros."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)

    def forward(self: Loop, row: int, batch: Nest) -> Tensor:
        with torch.no_grad():
            return self.workers.task.loss(self.workers.models[row], batch)

    def moved(module: nn.Module, device: torch.device) -> nn.Module:
        for own in module.modules():  # in place, which Module.to cannot do to fakes
            for name, tensor in own._parameters.items():
                own._parameters[name] = nn.Parameter(tensor.detach().to(device))
            for name, tensor in own._buffers.items():
                own._buffers[name] = tensor.to(device)
        return module

    monkeypatch.setattr("prsgd.training.workers.move", moved)

    def draw(self: RowWorkers, rows: list[int]) -> Nest:  # the counts on the CPU are fake too
        return self.task.batch(self.active, [0] * len(rows))

    monkeypatch.setattr(RowWorkers, "draw", draw)
    monkeypatch.setattr(Loop, "backward", forward)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
