"""One process of one contestant of `compare_peers.py`, which starts it by torchrun.

    torchrun --nproc-per-node=8 scripts/peer.py accelerate documented fp32 ROUNDS CACHE_FILE STARTED

ResNet-20, batch 32, I = 8, each library used as its documentation shows. `documented` reads through
a DataLoader and torchvision's transforms, `tensors` takes prsgd's own batches. Rank 0 prints a line
of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from prsgd.data.batches import Batches
from prsgd.data.images import Images, load_images
from prsgd.data.order import Order
from prsgd.launch.memory import keep_freed_memory
from prsgd.models import ResNet

BATCH, INTERVAL, LR = 32, 8, 0.1
Batch = tuple[Tensor, Tensor]
Step = Callable[[Tensor, Tensor], None]


class Pictures(Dataset[Any]):
    """The training images as torchvision's CIFAR10 gives them: PIL images through transforms."""

    def __init__(self, images: Images) -> None:
        from torchvision import transforms

        self.images = images.train_images.numpy()
        self.labels = images.train_labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean.tolist(), images.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Stopwatch:
    """The seconds of every call of a function."""

    def __init__(self) -> None:
        self.laps: list[float] = []

    def around(self, function: Callable[..., Any], counts: Callable[[], bool]) -> Any:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            counted, start = counts(), time.perf_counter()
            result = function(*arguments, **keywords)
            if counted:
                self.laps.append(time.perf_counter() - start)
            return result

        return timed


def forever(loader: Any) -> Iterator[Batch]:
    while True:
        yield from loader


def tensors(images: Images, rank: int, size: int) -> Iterator[Batch]:
    order = Order(len(images.train_labels), None, size, BATCH, 0, carry=True)
    batches = Batches(images, order, crop=4, flip=True)
    k = 0
    while True:
        yield batches.draw(rank, k)
        k += 1


def documented(images: Images) -> Iterator[Batch]:
    pictures = Pictures(images)
    return forever(DataLoader(pictures, BATCH, sampler=DistributedSampler(pictures)))


def sgd_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, bf16: bool, keep_gradients: bool = False
) -> Step:
    """One step as every tutorial has it; `keep_gradients` sets them to zero and not to None."""

    def step(x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad(set_to_none=not keep_gradients)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()

    return step


def bare(model: nn.Module, bf16: bool, watch: Stopwatch) -> Step:
    """No averaging at all, with every setting that is known to help: what the machine can do."""
    keep_freed_memory()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), LR)

    return sgd_step(model, optimiser, bf16, keep_gradients=True)


def ddp(model: nn.Module, bf16: bool, watch: Stopwatch) -> Step:
    """DistributedDataParallel: mini-batch SGD."""
    parallel = nn.parallel.DistributedDataParallel(model)
    optimiser = torch.optim.SGD(parallel.parameters(), LR)

    return sgd_step(parallel, optimiser, bf16)


def post_local_sgd(
    model: nn.Module, local: torch.optim.Optimizer
) -> tuple[nn.Module, Any, torch.optim.Optimizer]:
    """The module, the averager and the optimiser of PostLocalSGDOptimizer, as documented.

    Local from the first step, with an average every I steps.
    """
    from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import (
        PostLocalSGDState,
        post_localSGD_hook,
    )
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    parallel = nn.parallel.DistributedDataParallel(model)
    state = PostLocalSGDState(None, None, 0, post_local_gradient_allreduce=False)
    parallel.register_comm_hook(state, post_localSGD_hook)
    averager = PeriodicModelAverager(period=INTERVAL, warmup_steps=0)
    return parallel, averager, PostLocalSGDOptimizer(local, averager)


def post_local(model: nn.Module, bf16: bool, watch: Stopwatch) -> Step:
    """Its rounds are timed."""
    local = torch.optim.SGD(model.parameters(), LR)
    parallel, averager, optimiser = post_local_sgd(model, local)
    averager.average_parameters = watch.around(
        averager.average_parameters, lambda: averager.step % INTERVAL == 0
    )

    return sgd_step(parallel, optimiser, bf16)


def main() -> None:
    name, data, precision, rounds, cache, started = sys.argv[1:]
    bf16 = precision == "bf16"
    torch.manual_seed(0)
    model = ResNet(20).build(32, 10)
    images = load_images(Path(cache), torch.device("cpu"))
    watch = Stopwatch()
    if name == "accelerate":
        report(*accelerate(model, images, data, bf16, int(rounds), watch, float(started)), watch)
        return
    dist.init_process_group("gloo")
    step = {"bare": bare, "ddp": ddp, "post_local": post_local}[name](model, bf16, watch)
    rank, size = dist.get_rank(), dist.get_world_size()
    source = documented(images) if data == "documented" else tensors(images, rank, size)
    report(*drive(step, source, int(rounds), float(started), watch, nullcontext()), watch)


def accelerate(
    model: nn.Module,
    images: Images,
    data: str,
    bf16: bool,
    rounds: int,
    watch: Stopwatch,
    started: float,
) -> tuple[float, float]:
    """Hugging Face accelerate's LocalSGD."""
    from accelerate import Accelerator
    from accelerate.local_sgd import LocalSGD

    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if bf16 else "no")
    optimiser = torch.optim.SGD(model.parameters(), LR)
    model, optimiser = accelerator.prepare(model, optimiser)
    if data == "documented":
        loader = accelerator.prepare(DataLoader(Pictures(images), BATCH, shuffle=True))
        source = forever(loader)
    else:
        source = tensors(images, accelerator.process_index, accelerator.num_processes)
    local = LocalSGD(accelerator=accelerator, model=model, local_sgd_steps=INTERVAL)
    local._sync_and_avg_model_params = watch.around(local._sync_and_avg_model_params, lambda: True)

    def step(x: Tensor, y: Tensor) -> None:
        with accelerator.accumulate(model):
            loss = F.cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimiser.step()
            optimiser.zero_grad()
            local.step()

    return drive(step, source, rounds, started, watch, local)


def drive(
    step: Step, source: Iterator[Batch], rounds: int, started: float, watch: Stopwatch, context: Any
) -> tuple[float, float]:
    """A round to warm up, then `rounds` timed ones: images/s of all, seconds to the first step."""
    with context:
        step(*next(source))
        first = time.time() - started
        for _ in range(INTERVAL - 1):
            step(*next(source))
        watch.laps.clear()
        dist.barrier()
        start = time.perf_counter()
        for _ in range(rounds * INTERVAL):
            step(*next(source))
        dist.barrier()
        seconds = time.perf_counter() - start
    return dist.get_world_size() * rounds * INTERVAL * BATCH / seconds, first


def report(images_per_second: float, first_step: float, watch: Stopwatch) -> None:
    """The time of a round is told apart: the last to arrive waits for nobody."""
    laps: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(laps, watch.laps)
    count = min(map(len, laps))
    times = torch.tensor([lap[:count] for lap in laps])
    sending = times.min(0).values if count else torch.tensor([torch.nan])
    waiting = times.mean(0) - sending if count else torch.tensor([torch.nan])
    if dist.get_rank() == 0:
        result = {
            "images_per_second": images_per_second,
            "round_seconds": float(sending.median()),
            "waiting_seconds": float(waiting.median()),
            "first_step_seconds": first_step,
        }
        print(json.dumps(result), flush=True)
    dist.barrier()
    os._exit(0)  # DistributedDataParallel's threads now and then abort an orderly end


if __name__ == "__main__":
    main()
