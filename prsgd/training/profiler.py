"""Where the time of a step goes: torch.profiler over a few steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, record_function, schedule

from prsgd.training.workers import RowWorkers

SKIPPED, WARMING, RECORDED = 2, 2, 5  # numbers of steps
PARTS = ("compute_gradients", "draw", "optimizer_step", "average", "average_gradients", "mean")
OPERATORS = 40


@contextmanager
def profiled(workers: RowWorkers, folder: Path) -> Iterator[Callable[[], None]]:
    """A function to call after every step; it leaves trace.json.gz and profile.txt in `folder`.

    The trace opens in https://ui.perfetto.dev. The table has the operators that took most of the
    time in steps 5 to 9 of this process, and the parts of a step as `prsgd: ...`. A run of fewer
    than 5 steps leaves nothing.
    """
    cuda = workers.communicator.device.type == "cuda"
    for part in PARTS:
        setattr(workers, part, record_function(f"prsgd: {part}")(getattr(workers, part)))

    def write(done: profile) -> None:
        done.export_chrome_trace(str(folder / "trace.json.gz"))
        rows = done.key_averages()
        key = f"self_{'device' if cuda else 'cpu'}_time_total"
        table = rows.table(sort_by=key, row_limit=OPERATORS, max_name_column_width=48)
        hosted = len(workers.communicator.local_workers)
        steps = sum(row.count for row in rows if row.key.startswith("ProfilerStep"))
        heading = f"{steps} steps of the {hosted} workers that the first process hosts"
        (folder / "profile.txt").write_text(f"{heading}\n{table}\n")

    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])],
        schedule=schedule(wait=SKIPPED, warmup=WARMING, active=RECORDED, repeat=1),
        on_trace_ready=write,
    ) as profiler:
        yield profiler.step
