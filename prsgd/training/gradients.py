"""How a process computes the gradients of the workers that it hosts: launched anew, or replayed.

A row's parameters, gradients and statistics never move. So a GPU can record what a row's step does
once, and do the same again from one launch: the host, which is what small models wait for, hardly
matters then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prsgd.config.plan import STREAMS
from prsgd.tasks.base import Nest, blank, leaves, parts_of_nest, row_of_nest, shapes
from prsgd.training.buffers import buffers

if TYPE_CHECKING:
    from prsgd.training.workers import RowWorkers

WARM_UPS = 3  # as torch.cuda.make_graphed_callables has it


class Loop:
    """One row after another, launched anew in every step."""

    def __init__(self, workers: RowWorkers) -> None:
        self.workers = workers

    def compute(self, rows: Sequence[int], batch: Nest) -> None:
        """Add the gradients of these rows to g, and set their losses; batch (rows, b, ...)."""
        for place, row in enumerate(rows):
            self.workers.begin_forward(row)
            self.workers.losses[row] = self.backward(row, row_of_nest(batch, place))

    def backward(self, row: int, batch: Nest, keeps_casts: bool = True) -> Tensor:
        """Add a batch's gradient to the row of g, in `accumulate` parts; returns the mean loss."""
        workers, losses = self.workers, []
        for part in parts_of_nest(batch, workers.accumulate):
            with workers.autocast(keeps_casts):
                loss = workers.task.loss(workers.models[row], part)
            torch.autograd.backward(loss if workers.accumulate == 1 else loss / workers.accumulate)
            losses.append(loss.detach())
        return losses[0] if workers.accumulate == 1 else torch.stack(losses).mean()


class Graphs(Loop):
    """A CUDA graph for each row, replayed on streams side by side.

    Batches are copied to where the graphs read them. The graphs are recorded in the first step, and
    anew when batches have other shapes. Rows that draw random numbers are replayed one after
    another, as graphs may share what they draw from. Where there is no GPU a recording is the work
    itself.
    """

    def __init__(self, workers: RowWorkers) -> None:
        super().__init__(workers)
        self.inputs: Nest = None  # (K, b, ...)
        self.replays: list[Callable[[], None]] = []
        self.lanes: list[Any] = []  # streams, each with the activations that its graphs share
        if workers.x.is_cuda:
            count = 1 if workers.forward_draws else min(STREAMS, len(workers.x))
            self.lanes = [_lane(workers.x.device) for _ in range(count)]

    def compute(self, rows: Sequence[int], batch: Nest) -> None:
        wanted = blank(batch, len(self.workers.x))
        if self.inputs is None or shapes(wanted) != shapes(self.inputs):
            self.inputs = wanted
            self._record()
        for source, target in zip(leaves(batch), leaves(self.inputs), strict=True):
            for place, row in enumerate(rows):
                target[row].copy_(source[place])
        for stream, _ in self.lanes:
            stream.wait_stream(torch.cuda.current_stream())
        for row in rows:
            self.workers.begin_forward(row)
            with torch.cuda.stream(self._lane(row)[0]):
                self.replays[row]()
        for stream, _ in self.lanes:
            torch.cuda.current_stream().wait_stream(stream)

    def _lane(self, row: int) -> tuple[Any, Any]:
        """The stream of a row, and its memory; none where there is no GPU."""
        return self.lanes[row % len(self.lanes)] if self.lanes else (None, None)

    def _record(self) -> None:
        """Record the step of every row, which leaves no trace in what the rows are."""
        workers = self.workers
        own = [buffer for model in workers.models for buffer in buffers(model).values()]
        state = [workers.g, workers.s, workers.losses, *own]
        before = [tensor.clone() for tensor in state]
        self.replays = [self._recorded(row) for row in range(len(workers.x))]
        for tensor, kept in zip(state, before, strict=True):
            tensor.copy_(kept)

    def _recorded(self, row: int) -> Callable[[], None]:
        batch, loss = row_of_nest(self.inputs, row), self.workers.losses[row]

        def step() -> None:
            loss.copy_(self.backward(row, batch, keeps_casts=False))

        stream, memory = self._lane(row)
        if stream is None:
            return step
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                step()
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # what other threads do on the GPU meanwhile is no part of it
        with torch.cuda.graph(graph, pool=memory, stream=stream, capture_error_mode=mode):
            step()
        return graph.replay


def _lane(device: torch.device) -> tuple[Any, Any]:
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
