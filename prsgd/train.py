"""The training of one run, as each of its processes does it.

prsgd train interval=8 workers=4                            # ResNet-20 on CIFAR-10
prsgd train +experiment=quickstart interval=8 workers=4     # ResNet-8 on bundled digits
torchrun --nproc-per-node=4 -m prsgd train workers=8        # by somebody else's launcher
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from prsgd.cluster import Cluster
from prsgd.config import Run
from prsgd.console import Reporter
from prsgd.data.batches import Batches
from prsgd.data.cache import Images, load
from prsgd.data.partition import shards
from prsgd.environment import describe
from prsgd.plan import Job
from prsgd.randomness import Purpose, generator
from prsgd.recorder import Recorder
from prsgd.records import RunFolder
from prsgd.stop import signal_of
from prsgd.workers import RowWorkers

PATIENCE = 32  # gradients that a process may observe without hearing whether to stop


def train(job: Job, stop: Callable[[], int]) -> str:
    """Train from the newest checkpoint to the end; returns the status that is in the run folder.

    `stop` is asked before every step whether a signal came (0, or its weight).
    """
    run = job.run
    cluster = Cluster(run.workers, job.plan.device, run.reduction)
    folder = RunFolder(job.folder)
    try:
        images = load(job.data, cluster.device)
        workers = build_workers(run, images, cluster, job.plan.precision == "bf16")
        with Reporter(job.title or job.folder.name, run, quiet=not cluster.first) as reporter:
            recorder = Recorder(run, folder, workers, images, reporter)
            start = recorder.resume()
            if cluster.first:
                folder.write_environment(describe(run, job.plan))
                folder.set_status("running")
            reporter.begin(start, recorder.steps, recorder.steps_per_epoch)
            status, why = loop(run, start, workers, recorder, stop)
            if cluster.first:
                folder.set_status(status, why)
                reporter.end(status, why, folder.last_metrics(), cluster.ledger, folder.path)
    finally:
        cluster.close()
    return status


def loop(
    run: Run, start: int, workers: RowWorkers, recorder: Recorder, stop: Callable[[], int]
) -> tuple[str, str]:
    """The steps start + 1 .. T; returns how it ended and why."""
    cluster, steps = workers.cluster, recorder.steps
    patience = max(1, PATIENCE // -(-run.workers // cluster.processes))
    heard_at = start
    if start == 0:
        recorder.row(0)
        cluster.heard = None  # nothing was said yet
    recorder.run_clock()
    for t in range(start + 1, steps + 1):
        if signal := stop():
            cluster.said[1] = signal
        workers.observe_gradients()
        run.algorithm.step(t, run.schedule.lr(t, steps, run.lr), workers)
        if t == steps:
            run.algorithm.finish(t, workers)
        if recorder.due(t):
            recorder.row(t)
        elif cluster.heard is None and t - heard_at >= patience:
            cluster.agree()
        recorder.reporter.step(t, cluster.ledger.count)
        if cluster.heard is None:
            continue
        heard_at = t
        loss, stopping = cluster.listen()
        recorder.progress(t, loss)
        if not math.isfinite(loss):
            return "diverged", f"the training loss is {loss} at step {t}"
        if stopping and t < steps:
            recorder.checkpoint(t)
            return "interrupted", f"{signal_of(stopping).name} at step {t}"
    return "done", ""


def build_workers(run: Run, images: Images, cluster: Cluster, bf16: bool) -> RowWorkers:
    """All workers that this process hosts, at the same x, which is a function of the seed."""
    size = images.train_images.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(Purpose.MODEL, run.seed).integers(1 << 31)))
        model = run.model.build(size, images.classes)
    data = run.data
    batches = Batches(
        images,
        shards(
            data.partition, images.train_labels.cpu().numpy(), run.workers, data.alpha, run.seed
        ),
        run.workers,
        run.batch_size,
        run.seed,
        data.crop,
        data.flip,
    )
    if cluster.device.type == "cuda" and not bf16:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return RowWorkers(
        model,
        cluster,
        batches.draw,
        run.momentum,
        run.nesterov,
        run.weight_decay,
        bf16,
    )
