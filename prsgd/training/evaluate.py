"""What a model is worth on data, shared between the processes."""

from __future__ import annotations

import torch
from torch import nn

from prsgd.distributed.communicator import Communicator
from prsgd.tasks.base import Bound


@torch.inference_mode()
def evaluate(
    task: Bound, model: nn.Module, split: str, communicator: Communicator
) -> dict[str, float]:
    """The loss and the metrics of a model on the chunks of a split.

    Chunks are dealt to the processes and their float64 sums added in the order of the chunks.
    """
    chunks = task.chunks(split)
    mine = range(communicator.rank, len(chunks), communicator.processes)
    found = {chunk: task.evaluate(model, chunks[chunk]) for chunk in mine}
    width = len(task.evaluate(model, chunks[0])) if not found else len(next(iter(found.values())))
    sums = torch.zeros(len(chunks), width, dtype=torch.float64)
    for chunk, of_chunk in found.items():
        sums[chunk] = of_chunk
    return task.summary(communicator.all_reduce_sum(sums).sum(0))
