"""Hydra's world: callbacks, sweepers and launchers around the real training; runs side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Command, numbers, small_run
from omegaconf import OmegaConf

from prsgd.config.plan import Machine, Plan
from prsgd.launch import elsewhere, planning
from prsgd.launch.elsewhere import train_elsewhere
from prsgd.launch.gpus import VISIBLE, gpus_of
from prsgd.launch.planning import PlannedRun, fitting, plan_runs
from prsgd.run_folder import RunFolder

FAST = (
    *("model=mlp", "data=synthetic", "data.train=160", "data.size=8", "schedule=constant"),
    *("workers=2", "processes=1", "batch_size=4", "epochs=2", "interval=3"),
)
CALLBACK = """
import json
from pathlib import Path
from hydra.experimental.callback import Callback


def ends():
    return sorted(path.parent.name for path in Path("runs").glob("*/model.safetensors"))


class Log(Callback):
    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def write(job_return=None, **_):
            with open("log", "a") as file:
                value = None if job_return is None else job_return.return_value
                value = getattr(value, "objective", value)
                print(json.dumps([name, len(ends()), value]), file=file)

        return write
"""
SWEEPER = '''
from dataclasses import dataclass, field
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class Greedy(Sweeper):
    """Tries rates one after another, then half of the best one."""

    def __init__(self, rates, direction):
        self.rates, self.best = rates, max if direction == "maximize" else min

    def setup(self, *, hydra_context, task_function, config):
        make = Plugins.instance().instantiate_launcher
        self.launcher = make(hydra_context, task_function, config)

    def sweep(self, arguments):
        found = {}
        for number, lr in enumerate(self.rates):
            [job] = self.launcher.launch([[*arguments, f"lr={lr}"]], number)
            found[job.return_value] = lr
        self.launcher.launch([[*arguments, f"lr={found[self.best(found)] / 2}"]], 2)


@dataclass
class Conf:
    _target_: str = "hydra_plugins.greedy.Greedy"
    rates: list[float] = field(default_factory=lambda: [0.1, 0.02])
    direction: str = "minimize"


ConfigStore.instance().store(group="hydra/sweeper", name="greedy", node=Conf)
'''
LAUNCHER = '''
import pickle
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore
from hydra.core.utils import run_job
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class Far(Launcher):
    """Does what it is sent, as a process on another machine would after unpickling it."""

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, pickle.dumps(task_function), config

    def launch(self, job_overrides, initial_job_idx):
        with open("sent", "a") as file:
            print(initial_job_idx, len(job_overrides), file=file)
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            task = pickle.loads(self.task)
            place = "hydra.sweep.dir", "hydra.sweep.subdir"
            returned = run_job(task, config, *place, hydra_context=self.context)
            returns.append(pickle.loads(pickle.dumps(returned)))
        return returns


@dataclass
class Conf:
    _target_: str = "hydra_plugins.far.Far"


ConfigStore.instance().store(group="hydra/launcher", name="far", node=Conf)
'''


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Plugins of Hydra's in the folder in which commands run, which is on Python's path."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins/greedy.py").write_text(SWEEPER)
    (tmp_path / "hydra_plugins/far.py").write_text(LAUNCHER)
    (tmp_path / "watch.py").write_text(CALLBACK)
    return tmp_path


def events(folder: Path) -> list[tuple[str, int, float | None]]:
    """Of each callback its name, the runs trained by then, and what the job returned."""
    return [tuple(json.loads(line)) for line in (folder / "log").read_text().splitlines()]


def last_loss(folder: Path) -> float:
    return RunFolder(folder).last_metrics()["consensus_train_loss"]


WATCH = "+hydra.callbacks.mine._target_=watch.Log"


def test_callbacks_fire_around_the_training(prsgd: Command, plugins: Path) -> None:
    done = prsgd("train", "-m", *FAST, "lr=0.1,0.2", "jobs=1", WATCH)
    assert done.returncode == 0, done.stderr
    losses = {RunFolder(p).config()["lr"]: last_loss(p) for p in (plugins / "runs").iterdir()}
    assert events(plugins) == [
        ("on_multirun_start", 0, None),
        ("on_job_start", 0, None),
        ("on_job_end", 1, losses[0.1]),
        ("on_job_start", 1, None),
        ("on_job_end", 2, losses[0.2]),
        ("on_multirun_end", 2, None),
    ]
    (plugins / "log").unlink()
    assert prsgd("train", *FAST, "lr=0.3", WATCH).returncode == 0
    assert [event[:2] for event in events(plugins)] == [
        *(("on_run_start", 2), ("on_job_start", 2), ("on_job_end", 3), ("on_run_end", 3))
    ]
    assert not (plugins / "multirun").exists()


def test_a_sweep_is_checked_before_its_first_run(prsgd: Command, plugins: Path) -> None:
    refused = prsgd("train", "-m", *FAST, "lr=0.1,-1", WATCH)
    assert refused.returncode == 2
    assert refused.stderr == "prsgd: lr=-1.0: must be a number above 0\n"
    assert [event[:2] for event in events(plugins)] == [("on_multirun_start", 0)]
    assert not (plugins / "runs").exists()


def test_a_sweeper_learns_what_came_of_its_jobs(prsgd: Command, plugins: Path) -> None:
    """The better of two rates is the larger one here; its half is tried next."""
    done = prsgd("train", "-m", *FAST, "hydra/sweeper=greedy")
    assert done.returncode == 0, done.stderr
    losses = {RunFolder(p).config()["lr"]: last_loss(p) for p in (plugins / "runs").iterdir()}
    assert sorted(losses) == [0.02, 0.05, 0.1]
    assert losses[0.1] < losses[0.02]
    assert re.findall(r"^\[\d\] ", done.stdout, re.MULTILINE) == ["[1] ", "[2] ", "[3] "]
    best = f"the best of 3: lr=0.1 (objective {losses[0.1]:.4f})"
    assert done.stdout.splitlines()[-1] == best
    again = prsgd("train", "-m", *FAST, "hydra/sweeper=greedy")
    assert again.stdout.count("skipped") == 3
    assert again.stdout.splitlines()[-1] == best
    planned = prsgd("train", "-m", *FAST, "hydra/sweeper=greedy", "--dry-run")
    assert planned.returncode == 2
    assert planned.stderr == (
        "prsgd: hydra/sweeper: nothing can be planned, as what comes out of a run decides the "
        "next\n"
    )


def test_the_objective_is_a_column(prsgd: Command, plugins: Path) -> None:
    """The accuracy of a run is its objective if one says so, and what diverged is the worst."""
    search = ("hydra.sweeper.direction=maximize", "hydra.sweeper.rates=[0.1,1e30]")
    keys = ("objective=test_accuracy", "hydra/sweeper=greedy", *search, WATCH)
    done = prsgd("train", "-m", *FAST, *keys)
    assert done.returncode == 3
    rates = {RunFolder(p).config()["lr"]: RunFolder(p) for p in (plugins / "runs").iterdir()}
    assert sorted(rates) == [0.05, 0.1, 1e30]
    accuracy = {lr: folder.last_metrics()["test_accuracy"] for lr, folder in rates.items()}
    values = [value for name, _, value in events(plugins) if name == "on_job_end"]
    assert values == [accuracy[0.1], -float("inf"), accuracy[0.05]]
    refused = prsgd("train", *FAST, "objective=accuracy")
    assert refused.returncode == 2
    assert refused.stderr.startswith("prsgd: objective=accuracy: must be a column of metrics.csv: ")


def test_a_launcher_of_ones_own(prsgd: Command, plugins: Path) -> None:
    """It gets a task that can be pickled; the table and the exit code are those of any sweep."""
    keys = ("hydra/launcher=far", "lr=0.1,0.2,1e30", "processes=2", WATCH)
    done = prsgd("train", "-m", *FAST, *keys)
    assert done.returncode == 3, done.stderr
    names = {p.name: RunFolder(p).config()["lr"] for p in (plugins / "runs").iterdir()}
    assert sorted(names.values()) == [0.1, 0.2, 1e30]
    told = [line for line in done.stdout.splitlines() if "  begins" in line]
    assert [line.partition("  ")[0] for line in told] == sorted(names, key=lambda n: names[n])
    assert done.stdout.count(" done ") == 2
    assert "diverged: the training loss is nan" in done.stdout
    assert [event[:2] for event in events(plugins)][1:3] == [("on_job_start", 0), ("on_job_end", 1)]


def test_a_run_that_comes_twice_is_sent_when_it_has_ended(prsgd: Command, plugins: Path) -> None:
    """Mini-batch SGD has no interval. What an experiment says of its figures is kept as well."""
    keys = ("hydra/launcher=far", "algorithm=minibatch,prsgd", "interval=2,4", WATCH)
    done = prsgd("train", "-m", *FAST, *keys, "+figures={question: Which?}")
    assert done.returncode == 0, done.stderr
    assert (plugins / "sent").read_text() == "0 3\n3 1\n"
    runs = [path for path in (plugins / "runs").iterdir() if path.is_dir()]
    assert len(runs) == 3
    values = [value for name, _, value in events(plugins) if name == "on_job_end"]
    assert values[0] == values[3] is not None
    assert (plugins / "runs/figures.yaml").read_text() == "question: Which?\n"


def test_a_job_that_fails_elsewhere_is_one_line(prsgd: Command, plugins: Path) -> None:
    """Its folder can be written here, and is a file by the time that the second job begins."""
    keys = ("hydra/launcher=far", "seed=1,2", "out='${oc.env:OUT}/${seed}'")
    environment = {**os.environ, "OUT": str(plugins / "x")}
    (plugins / "x").mkdir()
    (plugins / "x/2").write_text("")
    failed = prsgd("train", "-m", *FAST, *keys, env=environment)
    assert failed.returncode == 1
    [line] = [line for line in failed.stderr.splitlines() if "cannot be written" in line]
    assert re.match(r"prsgd: .*seed=2.*: out=\S+/x/2: cannot be written", line)


def test_plugins_that_are_not_installed_are_one_line(prsgd: Command) -> None:
    for keys, line in {
        ("hydra/launcher=joblib",): "needs a plugin of Hydra's: pip install 'prsgd[joblib]'",
        ("hydra/launcher=submitit_slurm",): "needs a plugin of Hydra's: pip install 'prsgd[sub",
        ("hydra/sweeper=optuna",): "needs a plugin of Hydra's: pip install 'prsgd[optuna]'",
        ("hydra/sweeper=ax",): "is not installed here; prsgd was tried with optuna",
    }.items():
        refused = prsgd("train", "-m", *FAST, *keys, "lr=0.1,0.2")
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"prsgd: {keys[0]}: {line}")
        assert len(refused.stderr.splitlines()) == 1


# runs side by side -------------------------------------------------------------------------------


@pytest.mark.dist
def test_runs_side_by_side_are_the_runs_one_after_another(prsgd: Command, tmp_path: Path) -> None:
    """Bitwise; every line says whose it is, and none draws a bar."""
    keys = ("-m", *FAST, "threads=1", "lr=0.1,0.2,0.3")
    one = prsgd("train", *keys, "jobs=1", "out=one")
    two = prsgd("train", *keys, "jobs=2", "out=two")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    folders = sorted((tmp_path / "one").iterdir())
    assert len(folders) == 3
    for folder in folders:
        other = RunFolder(tmp_path / "two" / folder.name)
        assert numbers(other).equals(numbers(RunFolder(folder)))
    labels = [f"[{k}/3] {name}" for k, name in enumerate(order(two.stdout), 1)]
    lines = two.stdout.splitlines()
    for label in labels:
        own = [line.removeprefix(label) for line in lines if line.startswith(label)]
        assert own[0] == "  begins"
        assert own[-1].startswith("  done: training loss ")
        assert len(own) == 5
    assert one.stdout[one.stdout.index(" lr ") :].count("done") == 3


@pytest.mark.dist
def test_a_run_that_two_jobs_have_is_trained_once(prsgd: Command, tmp_path: Path) -> None:
    """Mini-batch SGD has no interval."""
    keys = (*FAST, "algorithm=minibatch", "interval=3,4", "seed=0,1", "jobs=2")
    done = prsgd("train", "-m", *keys)
    assert (done.returncode, done.stderr) == (0, "")
    assert len([*(tmp_path / "runs").iterdir()]) == 2
    assert done.stdout.count("  done: ") == 2


@pytest.mark.dist
def test_the_runs_of_one_job_go_side_by_side_too(prsgd: Command) -> None:
    """A table makes two runs of the only job, and both begin before either ends."""
    keys = (*FAST, "epochs=40", "+runs={table: {interval: [3, 4]}}", "jobs=2")
    done = prsgd("train", "-m", *keys, "seed=0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if "  begins" in line or "  done: " in line]
    assert ["begins" in line for line in lines] == [True, True, False, False]


def order(stdout: str) -> list[str]:
    """Run names in the order of their numbers."""
    return [
        name for _, name in sorted(set(re.findall(r"^\[(\d)/\d\] (\S+)", stdout, re.MULTILINE)))
    ]


LONG = (*FAST[:-2], "epochs=100000", "interval=3", "lr=0.01,0.02,0.03", "jobs=2")


@pytest.fixture
def long(tmp_path: Path, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep of three runs that would take hours, two at a time."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prsgd", "train", "-m", *LONG],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=60)


def wait_for(tmp_path: Path, runs: int) -> list[Path]:
    """The folders of so many runs, once each has some rows."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [path.parent for path in (tmp_path / "runs").glob("*/metrics.csv")]
        if len(found) == runs and all((p / "metrics.csv").stat().st_size > 500 for p in found):
            return found
        time.sleep(0.1)
    raise AssertionError("the runs did not begin")


@pytest.mark.dist
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_of_them(
    long: subprocess.Popen[str], tmp_path: Path, number: int
) -> None:
    folders = wait_for(tmp_path, 2)
    long.send_signal(number)
    out, _ = long.communicate(timeout=60)
    assert long.returncode == 128 + number
    for folder in folders:
        assert RunFolder(folder).status()[0] == "interrupted"
        assert RunFolder(folder).has_checkpoint()
    assert len([*(tmp_path / "runs").iterdir()]) == 2  # the third one never began
    assert out.count("to go on: the same command again") == 2


@pytest.mark.dist
def test_a_run_whose_process_is_killed_fails_alone(
    long: subprocess.Popen[str], tmp_path: Path
) -> None:
    first, _ = wait_for(tmp_path, 2)
    owner = int(re.findall(r"process (\d+)", (first / ".lock").read_text())[0])
    os.kill(owner, signal.SIGKILL)
    end = time.monotonic() + 60
    while RunFolder(first).status()[0] == "running" and time.monotonic() < end:
        time.sleep(0.1)
    assert RunFolder(first).status()[0] == "interrupted"  # its rank left a checkpoint
    assert RunFolder(first).has_checkpoint()
    wait_for(tmp_path, 3)  # the third one takes its place
    long.terminate()
    _, errors = long.communicate(timeout=60)
    assert f"prsgd: {first.name}: its process was ended by SIGKILL" in errors.splitlines()


def test_jobs_says_what_it_may_be(prsgd: Command) -> None:
    for wrong in ("0", "some", "1.5"):
        refused = prsgd("train", "-m", *FAST, "lr=0.1,0.2", f"jobs={wrong}")
        assert refused.returncode == 2
        assert refused.stderr == (f"prsgd: jobs={wrong}: must be auto or a whole number above 0\n")


def test_as_many_as_the_machine_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight GPUs are room for four runs of two workers; memory may leave less."""
    eight = Machine(gpus=8, cores=64, linux=True, bf16={"cuda": True, "cpu": False})

    def room(machine: Machine, runs: int, **keys: object) -> int:
        monkeypatch.setattr(planning, "this_machine", lambda: machine)
        made = [small_run(out=str(tmp_path), seed=k, **keys) for k in range(runs)]
        return fitting(plan_runs([(run, None) for run in made], alone=False), "auto")

    assert room(eight, 6, workers=2) == 4
    assert room(eight, 3, workers=2) == 3
    assert room(eight, 6, workers=8) == 1
    assert room(eight, 6, workers=6, processes=2) == 4
    assert room(eight, 6, workers=16, device="cpu") == 4
    laptop = Machine(gpus=0, cores=2, linux=True, bf16={"cuda": False, "cpu": False})
    assert room(laptop, 6, workers=1) == 2
    assert room(laptop, 6, workers=2) == 1
    mac = Machine(gpus=0, cores=8, linux=False, bf16={"cuda": False, "cpu": False})
    assert room(mac, 6, workers=1) == 1
    needed = planning.estimate.memory(small_run(workers=1), (10**6,))
    monkeypatch.setattr(planning.estimate, "memory", lambda run, sizes: needed)
    monkeypatch.setattr(planning, "physical_memory", lambda: 1.5 * needed)
    assert room(laptop, 6, workers=1) == 1


def test_a_job_elsewhere_has_its_share_of_the_gpus_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of joblib's jobs at the same time have four of eight GPUs each."""

    def count() -> int:
        return len(os.environ.get(VISIBLE, "0,1,2,3,4,5,6,7").split(","))

    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", count)
    bf16 = {"cuda": True, "cpu": True}
    machine = partial(Machine, cores=16, linux=True, bf16=bf16)
    monkeypatch.setattr(planning, "this_machine", lambda: machine(gpus=count()))
    run = small_run(workers=8, device="cuda")
    alone = PlannedRun(run, Plan("cuda", 8, 1, "fp32", "spawn", 16), RunFolder(tmp_path))
    monkeypatch.setattr(elsewhere, "runs_of", lambda *given: ([run], None))
    monkeypatch.setattr(elsewhere, "plan_runs", lambda *given: [alone])
    monkeypatch.setattr(elsewhere, "prepared", lambda planned: planned)
    monkeypatch.setattr(elsewhere, "_slot", lambda at_once: nullcontext(1))

    def train(planned: list[PlannedRun], *given: object) -> tuple[int, str]:
        return planned[0].plan.processes, os.environ[VISIBLE]

    monkeypatch.setattr(elsewhere, "train_job", train)
    assert train_elsewhere([], 2, OmegaConf.create()) == (4, "4,5,6,7")
    assert VISIBLE not in os.environ


def test_gpus_are_shared_out() -> None:
    eight = [str(number) for number in range(8)]
    assert [gpus_of(slot, 4, eight) for slot in range(4)] == [
        *(["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"])
    ]
    assert [gpus_of(slot, 3, ["4", "6"]) for slot in range(3)] == [["4"], ["6"], ["4"]]
    assert gpus_of(0, 2, []) == []


# the real plugins --------------------------------------------------------------------------------


@pytest.mark.tools
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers(prsgd: Command, tmp_path: Path, launcher: str) -> None:
    """Two jobs at a time; the same curves, the table, and exit code 3, as one diverged."""
    keys = ("-m", *FAST, "threads=1", "lr=0.1,0.2,1e30")
    assert prsgd("train", *keys, "jobs=1", "out=one").returncode == 3
    done = prsgd("train", *keys, "out=two", f"hydra/launcher={launcher}")
    assert done.returncode == 3, done.stderr
    for folder in (tmp_path / "one").iterdir():
        other = RunFolder(tmp_path / "two" / folder.name)
        assert numbers(other).equals(numbers(RunFolder(folder)))
    table = done.stdout[done.stdout.index(" lr ") :]
    assert table.count(" done ") == 2
    assert table.count("diverged: ") == 1


@pytest.mark.tools
def test_launchers_are_chosen_by_an_experiment_too(prsgd: Command, tmp_path: Path) -> None:
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /hydra/launcher: joblib\n"
    (tmp_path / "mine/experiment/far.yaml").write_text(text)
    keys = ("--config-dir", "mine", "-m", "+experiment=far", *FAST, "lr=0.1,0.2")
    done = prsgd("train", *keys)
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / "runs").iterdir()]) == 2
    assert (tmp_path / "multirun").is_dir()


@pytest.mark.tools
def test_optuna(prsgd: Command, tmp_path: Path) -> None:
    """The shipped experiment, at the size of a test; the same command goes on."""
    small = ("model=mlp", "epochs=0.2", "workers=2", "processes=1", "hydra.sweeper.n_trials=4")
    done = prsgd("train", "+experiment=tune_optuna", *small)
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "runs/tune_optuna").iterdir())
    assert len(runs) == 4
    best = min(runs, key=last_loss)
    line = done.stdout.splitlines()[-1]
    assert line.startswith("the best of 4: ")
    assert line.endswith(f"(objective {last_loss(best):.4f})")
    [found] = (tmp_path / "multirun").rglob("optimization_results.yaml")
    assert f"best_value: {last_loss(best)}" in found.read_text()
    again = prsgd("train", "+experiment=tune_optuna", *small)
    assert again.stdout.count("skipped") == 4
    assert again.stdout.splitlines()[-1] == line
