"""What GPUs would be asked to do, seen without one: tensors are fake, of the device cuda."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import part, small_run
from fake_gpu import CUDA, Event
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from prsgd.algorithms.info import RunInfo
from prsgd.config.plan import Job, Machine, Plan, decide
from prsgd.data.transfer import on_device
from prsgd.distributed import communicator as communicators
from prsgd.distributed.communicator import Communicator
from prsgd.distributed.pending import Arriving, Stopwatch
from prsgd.errors import LOST, ProcessLost, UserError
from prsgd.launch.process import work
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import RunFolder
from prsgd.training import machine
from prsgd.training.calibrate import Repeated
from prsgd.training.device import device_settings
from prsgd.training.interrupt import Interrupt
from prsgd.training.machine import compute_capability
from prsgd.training.setup import build_workers
from prsgd.training.views import ALIGNED, rows_of

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
METHODS: dict[str, dict[str, Any]] = {
    "mini-batch SGD": {"algorithm": part("minibatch")},
    "PR-SGD": {"algorithm": part("prsgd", interval=2)},
    "momentum": {"algorithm": part("prsgd", interval=2), "momentum": 0.9, "clip": 1.0},
    "AdamW": {"algorithm": part("diloco", interval=2), "optimiser": "adamw"},
    "SlowMo": {"algorithm": part("slowmo", interval=2), "momentum": 0.9},
    "EASGD": {"algorithm": part("easgd", interval=2)},
    "SCAFFOLD": {"algorithm": part("scaffold", interval=2)},
    "VRL-SGD": {"algorithm": part("vrl", interval=2)},
    "groups": {"algorithm": part("hierarchical", levels={2: 1, 4: 2})},
    "post-local SGD": {"algorithm": part("post_local", interval=2, switch="steps", after=2.0)},
    "exact sums": {"algorithm": part("prsgd", interval=2), "reduction": "exact"},
}


class Transfers(TorchDispatchMode):
    """Counts what makes the host wait for the device, or the device for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None):
        named = named or {}
        name = str(function)
        tensors = [own for own in arguments if isinstance(own, Tensor)]
        if name in (
            "aten._local_scalar_dense.default",
            "aten.item.default",
            "aten.nonzero.default",
        ):
            self.seen["read"] += any(own.device.type == "cuda" for own in tensors)
        if name == "aten._to_copy.default" and (to := named.get("device")) is not None:
            [source] = tensors
            crosses = source.device.type != torch.device(to).type
            free = named.get("non_blocking", False)
            self.seen["copy without waiting" if free else "copy"] += crosses
        if name == "aten.copy_.default" and tensors[0].device.type != tensors[1].device.type:
            free = len(arguments) > 2 and arguments[2]
            crosses = tensors[1].dim() > 0  # a number is a launch's argument
            self.seen["copy without waiting" if free else "copy"] += crosses
        return function(*arguments, **named)


@pytest.mark.parametrize("name", METHODS)
def test_no_step_of_a_fake_gpu_waits_for_the_host(name: str, fake_gpu: None) -> None:
    """Two rounds of every method: everything is on the GPU, and nothing is read from it.

    What a round says of losses and signals is sent to the host, which does not wait for it.
    """
    run = small_run(workers=4, device="cuda", gradients="loop", **METHODS[name])
    communicator = Communicator(run.workers, "cuda", run.reduction)
    workers = build_workers(run, Repeated(run, CUDA), communicator, bf16=False)
    run.algorithm.begin(RunInfo(4, 4, 2.0, lambda t: 0.1), workers)
    for t in range(1, 5):
        with Transfers() as transfers:
            workers.compute_gradients()
            run.algorithm.step(t, 0.1, workers)
        rounds = sum(own.step == t and own.control is not None for own in workers.ledger.open)
        assert +transfers.seen == Counter({"copy without waiting": rounds} if rounds else {}), t
    state = workers.state_tensors()
    assert {own.device.type for name, own in state.items() if not name.startswith("draws")} == {
        "cuda"
    }


def test_rows_of_a_fake_gpu_begin_at_aligned_addresses(fake_gpu: None) -> None:
    row = torch.arange(5.0, device=CUDA)
    rows = rows_of(row, 3)
    assert rows.shape == (3, 5)
    assert rows.stride() == (ALIGNED, 1)


def test_rows_of_a_cpu_lie_one_after_another() -> None:
    row = torch.arange(5.0)
    rows = rows_of(row, 3)
    assert torch.equal(rows, row.expand(3, 5))
    assert rows.is_contiguous()


def test_what_is_drawn_goes_to_a_fake_gpu_in_one_copy(fake_gpu: None) -> None:
    index, rows = np.arange(6), np.arange(12).reshape(6, 2)
    with Transfers() as transfers:
        moved = on_device(CUDA, index, rows)
    assert [(own.device, [*own.shape]) for own in moved] == [(CUDA, [6]), (CUDA, [6, 2])]
    assert transfers.seen == {"copy without waiting": 1}


def test_what_is_drawn_stays_what_it_is() -> None:
    index, rows = np.arange(6), np.arange(12).reshape(6, 2)
    for given, found in zip(
        (index, rows), on_device(torch.device("cpu"), index, rows), strict=True
    ):
        assert np.array_equal(found.numpy(), given)


def test_the_counter_of_transfers_counts(fake_gpu: None) -> None:
    here, there = torch.zeros(3), torch.zeros(3, device=CUDA)
    with Transfers() as transfers:
        here.to(CUDA)
        there.to("cpu")
        there.copy_(here)
        here.to(CUDA, non_blocking=True)
        here.copy_(there, non_blocking=True)
        there.fill_(1.0)
    assert transfers.seen == {"copy": 3, "copy without waiting": 2}


def test_numbers_of_a_fake_gpu_are_waited_for_by_who_reads_them(fake_gpu: None) -> None:
    arriving = Arriving(torch.ones(2, device=CUDA))
    arrived = arriving._arrived
    arriving._numbers = SimpleNamespace(tolist=lambda: [1.0, arrived.is_waited_for])
    assert not arrived.is_waited_for
    assert arriving.tolist() == [1.0, True]


def test_seconds_of_a_fake_gpu_are_those_between_its_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = Stopwatch(CUDA)
    for _ in range(2):
        with watch.running():
            pass
    assert watch.seconds == 0.5
    monkeypatch.setattr("time.perf_counter", iter([1.0, 3.0, 10.0, 11.5]).__next__)
    on_cpu = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with on_cpu.running():
            pass
    assert on_cpu.seconds == 3.5


# collectives ------------------------------------------------------------------------------------


class Work:
    """A collective that is done after some looks at it, or never; the log tells what was done."""

    def __init__(self, name: str, looks: float, log: list[str]) -> None:
        self.name = name
        self.looks = looks
        self.log = log
        log.append(f"{name} begins")

    def is_completed(self) -> bool:
        self.looks -= 1
        if self.looks < 0:
            self.log.append(f"{self.name} is over")
        return self.looks < 0

    def wait(self) -> bool:
        return True


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Rank 1 of two, whose process groups only note what they are asked; returns the notes."""
    notes: dict[str, Any] = {"reduced": [], "ended": 0, "log": []}

    def init(backend: str, **options: Any) -> None:
        notes["started"] = backend, options

    def all_reduce(tensor: Tensor, operation: Any, group: Any, async_op: bool) -> Work:
        notes["reduced"].append((group, tensor.device.type))
        number = len(notes["reduced"])
        return Work(f"{tensor.device.type} {number}", notes.get("looks", 0), notes["log"])

    def end() -> None:
        notes["ended"] += 1

    monkeypatch.setattr(torch.cuda, "device_count", lambda: notes.get("gpus", 2))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(dist, "init_process_group", init)
    monkeypatch.setattr(dist, "new_group", lambda **options: options["backend"])
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "destroy_process_group", end)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    device = SimpleNamespace(synchronize=lambda: notes["log"].append("the host waits"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: device)
    monkeypatch.setattr(Communicator, "_refuse_shared_gpus", lambda self: None)
    beating = SimpleNamespace(beat=lambda step, everyone: None, missing=lambda error: error)
    monkeypatch.setattr(communicators, "Heartbeat", lambda *more: beating)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    return notes


def test_nccl_gets_fake_gpu_tensors_only_and_gloo_those_of_the_cpu(two_gpus: Any) -> None:
    communicator = Communicator(4, "cuda", "fast", processes=2, timeout=300)
    backend, options = two_gpus["started"]
    assert (backend, options["device_id"]) == ("nccl", torch.device("cuda", 1))
    assert options["timeout"].total_seconds() > 300  # prsgd gives up before NCCL aborts
    with FakeTensorMode(allow_non_fake_inputs=True):
        rows = torch.zeros(2, 5, device=communicator.device)
        communicator.mean([rows], torch.zeros(2, device=communicator.device))
    communicator.gather_workers(torch.zeros(2, 3))
    communicator.barrier()
    communicator.sync_control(torch.zeros(2))
    assert two_gpus["reduced"] == [(None, "cuda"), *[("gloo", "cpu")] * 3]
    communicator.close()
    assert two_gpus["ended"] == 1


@pytest.mark.parametrize(("gpus", "index"), [(1, 0), (2, 1), (8, 1)])
def test_a_rank_has_its_fake_gpu_or_the_only_one_that_it_sees(
    two_gpus: Any, gpus: int, index: int
) -> None:
    two_gpus["gpus"] = gpus
    assert Communicator(2, "cuda", "fast", processes=2).device == torch.device("cuda", index)


def test_a_collective_of_fake_gpus_that_does_not_end_is_a_lost_process(two_gpus: Any) -> None:
    """Nobody waits in a device: rank 1 looks, gives up, and leaves the group as it is."""
    communicator = Communicator(2, "cuda", "fast", processes=2, timeout=0.2)
    two_gpus["looks"] = float("inf")
    a_round(communicator)
    for _ in range(2):  # nor when it is asked once more
        with pytest.raises(ProcessLost, match="timed out"):
            communicator.clock()
    assert two_gpus["log"] == ["cuda 1 begins"]
    communicator.close(failed=True)
    assert two_gpus["ended"] == 0


def a_round(communicator: Communicator) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        row = torch.zeros(1, 5, device=communicator.device)
        communicator.mean([row], torch.zeros(2, device=communicator.device))


@pytest.mark.parametrize(
    ("ask", "then"),
    [
        (a_round, "cuda 2 begins"),
        (Communicator.clock, "the host waits"),
        (Communicator.barrier, "cpu 2 begins"),
        (lambda own: own.gather_workers(torch.zeros(1)), "cpu 2 begins"),
    ],
)
def test_a_round_of_fake_gpus_is_over_before_anything_waits_for_a_gpu(
    two_gpus: Any, ask: Callable[[Communicator], Any], then: str
) -> None:
    """Else the host could wait for a GPU that waits for a lost one."""
    communicator = Communicator(2, "cuda", "fast", processes=2)
    a_round(communicator)
    assert two_gpus["log"] == ["cuda 1 begins"]
    ask(communicator)
    assert two_gpus["log"][:3] == ["cuda 1 begins", "cuda 1 is over", then]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_who_is_asked_to_end_does_not_wait_for_a_lost_process(
    two_gpus: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torchrun that is not ours kills what does not end in time, before it could say why."""
    signals = iter([0, 0, 1])
    communicator = Communicator(
        2, device, "fast", processes=2, asked=lambda: next(signals, 1), timeout=300
    )
    monkeypatch.setattr("prsgd.distributed.peers.ENDING_SECONDS", 0.1)
    two_gpus["looks"] = float("inf")
    since = time.monotonic()
    with pytest.raises(ProcessLost, match="timed out"):
        communicator.barrier()
    assert 0.1 < time.monotonic() - since < 10


def test_a_rank_that_lost_another_ends_at_once_on_a_fake_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of Python would wait for NCCL, which waits for the other."""

    def lose(*more: Any) -> None:
        folder.set_status("failed", f"{LOST}: rank 0 has ended")
        raise ProcessLost(LOST)

    def leave(code: int) -> None:
        raise SystemExit(code)

    folder = RunFolder(tmp_path)
    folder.create(small_run().as_dict(), OF_IMAGES)
    monkeypatch.setattr("prsgd.training.loop.train", lose)
    monkeypatch.setattr("os._exit", leave)
    on_gpus = Job(small_run(), Plan("cuda", 2, 1, "bf16", "torchrun", 2), tmp_path, tmp_path)
    with pytest.raises(SystemExit, match="1"):
        work(on_gpus, Interrupt())
    assert "failed: a process was lost: rank 0 has ended" in capsys.readouterr().err
    on_cpus = Job(small_run(), Plan("cpu", 2, 1, "bf16", "torchrun", 2), tmp_path, tmp_path)
    assert work(on_cpus, Interrupt()) == 1


# placement and number formats -------------------------------------------------------------------

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}


def with_gpus(count: int, bf16: bool = True) -> Machine:
    return Machine(gpus=count, cores=16, linux=True, bf16={"cuda": bf16, "cpu": False})


def test_more_ranks_than_fake_gpus_are_refused() -> None:
    with pytest.raises(UserError) as refusal:
        decide(small_run(workers=8), with_gpus(2), TORCHRUN)
    assert str(refusal.value) == (
        "torchrun started 4 processes on this machine, which has 2 GPUs; each needs one of its "
        "own, and hosts any number of workers: --nproc-per-node=2"
    )
    for gpus in (1, 4, 8):  # one that sees a single GPU may see its own
        assert decide(small_run(workers=8), with_gpus(gpus), TORCHRUN).device == "cuda"
    assert decide(small_run(workers=8, device="cpu"), with_gpus(2), TORCHRUN).device == "cpu"


def test_bf16_on_fake_gpus_that_have_none() -> None:
    old = with_gpus(1, bf16=False)
    assert decide(small_run(precision="auto"), old, {}).precision == "fp32"
    with pytest.raises(UserError) as refusal:
        decide(small_run(precision="bf16"), old, {})
    assert str(refusal.value) == (
        "precision=bf16: the GPUs here have no bf16 arithmetic, which those of compute capability "
        "8.0 and later have; it must be auto or fp32"
    )
    assert decide(small_run(precision="bf16", device="cpu"), old, {}).precision == "bf16"


DRIVER = """
static int versions[][2] = {{9, 0}, {7, 5}};
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = %d; return 0; }
int cuDeviceGet(int *device, int gpu) { *device = gpu + 10; return 0; }
int cuDeviceGetAttribute(int *value, int of, int device) {
    *value = versions[device - 10][of == 76];
    return of != 75 && of != 76;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(("gpus", "lowest"), [(1, 9.0), (2, 7.5), (0, 0.0)])
def test_the_driver_of_fake_gpus_tells_the_lowest_capability(
    gpus: int, lowest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driver.c").write_text(DRIVER % gpus)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "driver.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert compute_capability() == lowest


def test_without_a_driver_there_is_no_fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ASK_DRIVER", "raise SystemExit('cuInit')")
    assert compute_capability() == 0.0
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert compute_capability() == 0.0


def settings_of_torch() -> dict[str, Any]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "tf32": (cudnn.allow_tf32, matmul.allow_tf32),
        "benchmark": cudnn.benchmark,
        "deterministic": (cudnn.deterministic, torch.are_deterministic_algorithms_enabled()),
    }


@pytest.mark.parametrize(("name", "tf32"), [("allow_tf32", True), ("fp32_precision", "tf32")])
def test_a_program_may_call_tf32_by_either_name(name: str, tf32: object) -> None:
    """Torch refuses one of them once the program has used the other."""
    matmul = torch.backends.cuda.matmul
    before = getattr(matmul, name)
    setattr(matmul, name, tf32)
    try:
        for precision, inside in (("fp32", "ieee"), ("bf16", "tf32")):
            with device_settings(Plan("cuda", 1, 1, precision, "in_process", 1), "fast"):
                assert matmul.fp32_precision == inside
            assert matmul.fp32_precision == "tf32"
    finally:
        setattr(matmul, name, before)


def test_runs_on_a_fake_gpu_in_several_threads_follow_one_another() -> None:
    """As they set up the whole process: deterministic kernels stay on to the end of a run."""
    plan, found = Plan("cuda", 1, 1, "bf16", "in_process", 1), list[bool]()

    def fast() -> None:
        with device_settings(plan, "fast"):
            found.append(torch.are_deterministic_algorithms_enabled())

    with device_settings(plan, "exact"):
        other = Thread(target=fast)
        other.start()
        other.join(0.2)
        assert other.is_alive()
        assert not found
        assert torch.are_deterministic_algorithms_enabled()
    other.join()
    assert found == [False]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("reduction", ["fast", "exact"])
def test_settings_of_torch_for_a_fake_gpu(
    precision: str, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp32 is fp32; exact sums have deterministic kernels; afterwards all is as it was."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is unset again at the end
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = settings_of_torch()
    with device_settings(Plan("cuda", 1, 1, precision, "in_process", 1), reduction):
        found = settings_of_torch()
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG", "") == ":4096:8" * (reduction == "exact")
    exact = reduction == "exact"
    assert found["tf32"] == ((False, False) if precision == "fp32" else (True, before["tf32"][1]))
    assert found["benchmark"] is not exact
    assert found["deterministic"] == (exact, exact)
    assert settings_of_torch() == before
    with device_settings(Plan("cpu", 1, 1, precision, "in_process", 1), reduction):
        assert settings_of_torch() == before
