"""All workers that a process hosts, made from a run."""

from __future__ import annotations

import torch

from prsgd.config.schema import Run
from prsgd.data.batches import Batches
from prsgd.data.cache import Images
from prsgd.data.partition import shards
from prsgd.distributed.communicator import Communicator
from prsgd.rng import Purpose, generator
from prsgd.training.generators import generators_restored
from prsgd.training.workers import RowWorkers


def build_workers(run: Run, images: Images, communicator: Communicator, bf16: bool) -> RowWorkers:
    """The hosted workers, all at the same x, which is a function of the seed."""
    size = images.train_images.shape[1]
    with generators_restored(int(generator(Purpose.MODEL, run.seed).integers(1 << 31))):
        model = run.model.build(size, images.classes)
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
    return RowWorkers(model, communicator, batches.draw, run, bf16)
