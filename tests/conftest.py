"""What the tests share: a small cache, runs in this process, and the command in another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from fake_gpu import fake_gpu as fake_gpu

from prsgd.config.build import build_run
from prsgd.config.plan import Job, Plan
from prsgd.config.schema import Run
from prsgd.data.cache import load, prepare
from prsgd.run_folder import RunFolder
from prsgd.tasks.base import Bound, row_of_nest
from prsgd.training.loop import train

TARGETS = {
    "prsgd": "prsgd.algorithms.restarted.PRSGD",
    "minibatch": "prsgd.algorithms.minibatch.MiniBatchSGD",
    "one_shot": "prsgd.algorithms.one_shot.OneShot",
    "epochs": "prsgd.algorithms.epochs.PRSGDEpochs",
    "unequal": "prsgd.algorithms.heterogeneous.HeterogeneousPRSGD",
    "post_local": "prsgd.algorithms.post_local.PostLocalSGD",
    "hierarchical": "prsgd.algorithms.hierarchical.Hierarchical",
    "slowmo": "prsgd.algorithms.slowmo.SlowMo",
    "diloco": "prsgd.algorithms.diloco.DiLoCo",
    "qsr": "prsgd.algorithms.qsr.QSR",
    "adacomm": "prsgd.algorithms.adacomm.AdaComm",
    "easgd": "prsgd.algorithms.easgd.EASGD",
    "vrl": "prsgd.algorithms.vrl_sgd.VRLSGD",
    "scaffold": "prsgd.algorithms.scaffold.Scaffold",
    "mlp": "prsgd.models.MLP",
    "resnet": "prsgd.models.ResNet",
    "synthetic": "prsgd.data.sets.Synthetic",
    "digits": "prsgd.data.sets.Digits",
    "constant": "prsgd.schedule.Constant",
}


def part(name: str, **values: Any) -> dict[str, Any]:
    return {"_target_": TARGETS[name], **values}


def small_run(**values: Any) -> Run:
    """A run of seconds: an MLP on 8 x 8 synthetic images, one epoch of 20 steps and more."""
    return build_run(
        {
            "workers": 2,
            "batch_size": 4,
            "lr": 0.05,
            "epochs": 2,
            "precision": "fp32",
            "threads": 1,
            "algorithm": part("prsgd"),
            "model": part("mlp", width=8),
            "data": part("synthetic", train=160, test=40, size=8, crop=1, flip=True),
            "schedule": part("constant"),
            **values,
        }
    )


def bound(run: Run, cache: Path) -> Bound:
    """A run's task on its data."""
    path = prepare(run.data, cache, lambda items, n: iter(items))
    return run.task.bind(run, *load(path, torch.device("cpu")))


def spent() -> float:
    """Seconds of the CPU that processes of this one took, as tests share the cores."""
    times = os.times()
    return times.children_user + times.children_system


def drawn(task: Bound, worker: int, draw: int) -> Any:
    """One worker's batch."""
    return row_of_nest(task.batch([worker], [draw]), 0)


# a shell ignores it in what it runs in the background, and so would all processes of the tests
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def here(run: Run) -> Plan:
    return Plan("cpu", 1, 1, run.precision, "in_process", 1)


Trainer = Callable[..., tuple[str, RunFolder]]


@pytest.fixture
def train_here(cache: Path, tmp_path: Path) -> Trainer:
    """Train in this process; `stop` is what the loop asks before every step."""

    def go(run: Run, name: str = "run", stop: Callable[[], int] = int) -> tuple[str, RunFolder]:
        folder = RunFolder(tmp_path / name)
        folder.create(run.as_dict(), run.measures())
        path = prepare(run.data, cache, lambda items, total: iter(items))
        folder.set_status("running")
        return train(Job(run, here(run), folder.path, path), stop).status, folder

    return go


def cut_short(train_here: Trainer, run: Run, asked: int) -> tuple[RunFolder, RunFolder]:
    """The folder of a whole run, and that of one that was stopped and went on.

    The loop asks before each step whether to stop; it is told to from question `asked` on.
    """
    _, whole = train_here(run, "whole")
    questions = iter(range(1000))
    status, _ = train_here(run, "parts", lambda: next(questions) >= asked)
    assert status == "interrupted"
    status, parts = train_here(run, "parts")
    assert status == "done"
    return whole, parts


SIX_WORKERS = (
    *("data=synthetic", "data.size=8", "data.train=240", "data.test=40", "model=mlp"),
    *("model.width=8", "workers=6", "interval=4", "batch_size=4", "epochs=2", "lr=0.05"),
    *("precision=fp32", "threads=1", "reduction=exact", "schedule=constant"),
)


def same_on_any_processes(prsgd: Command, place: Path, *keys: str) -> Path:
    """The folder of a run of six workers on three processes, which is that on one and on two."""
    tables = []
    for P in (1, 2, 3):
        shown = prsgd("train", *SIX_WORKERS, *keys, f"processes={P}", f"out=p{P}")
        assert shown.returncode == 0, shown
        [folder] = (place / f"p{P}").glob("*-N6-*")
        tables.append((table(folder), table(folder, "rounds.csv")))
    for own in tables[1:]:
        assert own[0].equals(tables[0][0])
        assert own[1].equals(tables[0][1])
    return folder


TIMINGS = ("seconds", "_per_second")  # how the names of columns end that no two runs share


def table(folder: RunFolder | Path, name: str = "metrics.csv") -> pd.DataFrame:
    """A csv of a run as it was written, without the timings."""
    path = folder.path if isinstance(folder, RunFolder) else folder
    frame = pd.read_csv(path / name, dtype=str, keep_default_na=False)
    return frame[[column for column in frame if not column.endswith(TIMINGS)]]


def numbers(folder: RunFolder | Path, name: str = "metrics.csv") -> pd.DataFrame:
    return table(folder, name).astype(float)


class Done(NamedTuple):
    """What came of a command line."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float  # of the CPU


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has the libraries loaded, to run command lines with."""
    environment = {**os.environ, "KINETO_LOG_LEVEL": "99", "MPLBACKEND": "agg"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        yield server


@pytest.fixture
def prsgd(tmp_path: Path, warm: subprocess.Popen[str]) -> Command:
    """Run the command line in a process of its own, in an empty folder."""

    def go(
        *arguments: str,
        cwd: Path = tmp_path,
        env: Mapping[str, str] = os.environ,
        timeout: int = 100,
    ) -> Done:
        with NamedTemporaryFile("r") as out, NamedTemporaryFile("r") as err:
            command = {
                **{"arguments": arguments, "cwd": str(cwd), "env": {**env}, "timeout": timeout},
                **{"out": out.name, "err": err.name},
            }
            print(json.dumps(command), file=warm.stdin, flush=True)
            assert warm.stdout
            code, seconds = warm.stdout.readline().split()
            done = Done(int(code), out.read(), err.read(), float(seconds))
        assert done.returncode != -signal.SIGALRM, done
        return done

    return go
