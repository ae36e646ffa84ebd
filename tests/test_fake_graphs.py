"""CUDA graphs of a fake GPU: what is recorded and replayed, and on which stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from conftest import part, small_run
from fake_gpu import CUDA
from torch import Tensor

from prsgd.config.plan import STREAMS
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.late import Late
from prsgd.tasks.base import Nest
from prsgd.training.calibrate import Repeated
from prsgd.training.gradients import WARM_UPS, Graphs
from prsgd.training.setup import build_workers
from prsgd.training.workers import RowWorkers

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


class Stream:
    """A queue of a fake GPU, which writes into a log that all have in common."""

    count = 0
    log: list[str]

    def __init__(self, device: torch.device) -> None:
        self.name = f"stream {Stream.count}"
        self.device = device
        Stream.count += 1

    def wait_stream(self, other: Stream) -> None:
        Stream.log.append(f"{self.name} waits for {other.name}")


class Graph:
    """Remembers which row it is of, as it is recorded."""

    row = -1

    def replay(self) -> None:
        Stream.log.append(f"{torch.cuda.current_stream().name} replays row {self.row}")


@pytest.fixture
def log(fake_gpu: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the streams do, and which rows are computed on them."""
    Stream.count, Stream.log = 0, []
    main = Stream(CUDA)
    on, recording = [main], list[Graph]()

    @contextmanager
    def stream(own: Stream) -> Iterator[None]:
        on.append(own)
        yield
        on.pop()

    @contextmanager
    def graph(own: Graph, pool: object, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"  # other threads may use the GPU meanwhile
        recording.append(own)
        with torch.cuda.stream(stream):
            yield
        recording.pop()

    def backward(self: Graphs, row: int, batch: Nest, keeps_casts: bool) -> Tensor:
        assert not keeps_casts  # a cast that is kept would not see the weights change
        for own in recording:
            own.row = row
        what = "records" if recording else "computes"
        Stream.log.append(f"{on[-1].name} {what} row {row}")
        return self.workers.losses[row]

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: on[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(Graphs, "backward", backward)
    return Stream.log


def graphs(workers: int) -> RowWorkers:
    run = small_run(
        workers=workers, device="cuda", gradients="graph", algorithm=part("prsgd", interval=2)
    )
    communicator = Communicator(run.workers, "cuda", run.reduction)
    return build_workers(run, Repeated(run, CUDA), communicator, bf16=False)


def test_each_row_of_a_fake_gpu_is_recorded_once_and_replayed(log: list[str]) -> None:
    """Round-robin on the streams, which wait for the batch, and the next launch for all of them."""
    workers, rows = graphs(STREAMS + 2), range(STREAMS + 2)
    lane = {row: f"stream {1 + row % STREAMS}" for row in rows}
    workers.compute_gradients()
    for row in rows:
        assert log.count(f"{lane[row]} computes row {row}") == WARM_UPS
        assert log.count(f"{lane[row]} records row {row}") == 1
    log.clear()
    workers.compute_gradients()
    streams = [f"stream {1 + k}" for k in range(STREAMS)]
    assert log == [
        *(f"{name} waits for stream 0" for name in streams),
        *(f"{lane[row]} replays row {row}" for row in rows),
        *(f"stream 0 waits for {name}" for name in streams),
    ]


def test_rows_that_draw_on_a_fake_gpu_are_replayed_one_after_another(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowWorkers, "begin_forward", lambda self, row: None)
    workers = graphs(STREAMS)
    workers.forward_draws, Stream.count = nullcontext(), 1  # type: ignore[assignment]
    workers.gradients = Graphs(workers)
    workers.compute_gradients()
    log.clear()
    workers.compute_gradients()
    assert log == [
        "stream 1 waits for stream 0",
        *(f"stream 1 replays row {row}" for row in range(STREAMS)),
        "stream 0 waits for stream 1",
    ]


def test_late_work_of_a_fake_gpu_waits_for_what_came_before(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the GPU too, as both use one buffer. Its thread computes on the GPU of its stream."""
    places: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_device", places.append)
    first = Late(lambda: log.append("first"), CUDA, None)
    first._thread.join()
    second = Late(lambda: log.append("second"), CUDA, first)
    second.wait()
    assert log == [
        *("stream 1 waits for stream 0", "first"),
        *("stream 2 waits for stream 0", "stream 2 waits for stream 1", "second"),
        "stream 0 waits for stream 2",
    ]
    assert places == [CUDA, CUDA]


def test_a_row_of_a_fake_gpu_that_is_idle_is_not_replayed(log: list[str]) -> None:
    workers = graphs(STREAMS + 2)
    workers.compute_gradients()
    log.clear()
    workers.compute_gradients(active=[1, STREAMS])
    assert [line for line in log if "row" in line] == [
        "stream 2 replays row 1",
        f"stream 1 replays row {STREAMS}",
    ]


def test_other_shapes_on_a_fake_gpu_are_recorded_anew(log: list[str]) -> None:
    workers = graphs(2)
    workers.compute_gradients()
    log.clear()
    whole = workers.draw
    workers.draw = lambda rows: tuple(own[:, :2] for own in whole(rows))  # type: ignore[method-assign]
    workers.compute_gradients()
    assert sum("records" in line for line in log) == 2
    log.clear()
    workers.compute_gradients()
    assert not any("records" in line for line in log)
