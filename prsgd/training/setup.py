"""All workers that a process hosts, made from a run."""

from __future__ import annotations

import torch

from prsgd.config.schema import Run
from prsgd.data.batches import Batches
from prsgd.data.cache import Images
from prsgd.data.partition import shards
from prsgd.distributed.communicator import Communicator
from prsgd.training.generators import ForwardDraws
from prsgd.training.module import build_module, watch_unused
from prsgd.training.workers import RowWorkers


def build_workers(run: Run, images: Images, communicator: Communicator, bf16: bool) -> RowWorkers:
    """The hosted workers, all at the same x, which is a function of the seed."""
    size = images.train_images.shape[1]
    model, draws, unused = build_module(run, size, images.classes, bf16)
    data, labels, carry = run.data, images.train_labels.cpu().numpy(), run.remainder == "carry"
    batches = Batches(
        images,
        shards(data.partition, labels, run.workers, data.alpha, run.seed, carry),
        run.workers,
        run.batch_size,
        run.seed,
        data.crop,
        data.flip,
        carry,
    )
    if communicator.device.type == "cuda" and not bf16:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    forward_draws = ForwardDraws(run.seed, communicator.device) if draws else None
    workers = RowWorkers(model, communicator, batches.draw, run, bf16, forward_draws)
    for own in workers.models:
        watch_unused(own, unused)
    return workers
