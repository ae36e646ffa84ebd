"""Loss and accuracy of a model on a set, shared between the processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from prsgd.distributed.communicator import Communicator

CHUNK = 250  # images in a sum; fixed, so that P does not change the sums


@torch.inference_mode()
def evaluate(
    predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, communicator: Communicator
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of `predict` (images to logits) on x (n, ...) and y (n,).

    Chunks are dealt to the processes and their float64 sums added in chunk order.
    """
    chunks = -(-len(y) // CHUNK)
    sums = torch.zeros(chunks, 2, dtype=torch.float64)
    for chunk in range(communicator.rank, chunks, communicator.processes):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        logits, labels = predict(x[part]).float(), y[part]
        sums[chunk, 0] = F.cross_entropy(logits, labels, reduction="sum")
        sums[chunk, 1] = (logits.argmax(1) == labels).sum()
    loss, correct = communicator.all_reduce_sum(sums).sum(0).tolist()
    return loss / len(y), correct / len(y)
