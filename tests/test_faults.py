"""Whatever happens to the processes, the curve that comes out is the one that would have come out.

`make test-faults` runs the long ones. Runs have N = 6, exact sums and one thread a process.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from conftest import Command, Trainer, here, small_run, table
from safetensors.torch import load_file
from test_launch import SMALL, children, folders, metrics_text, start, wait_until
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from prsgd.config.plan import Job
from prsgd.errors import ProcessLost, UserError
from prsgd.launch import job as launch
from prsgd.launch.process import gave_up
from prsgd.run_folder import RunFolder
from prsgd.training.interrupt import SIGNAL_WEIGHTS
from prsgd.training.loop import record_failure

EXACT = ("reduction=exact", "momentum=0.9", "checkpoint_seconds=0.3")
LONG = (*EXACT, "epochs=150")


def assert_same(found: Path, whole: Path) -> None:
    """Bitwise: all columns but the timings, and the final parameters."""
    for name in ("metrics.csv", "rounds.csv"):
        assert table(found, name).equals(table(whole, name)), name
    ours, theirs = (load_file(f / "model.safetensors") for f in (found, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def finish(prsgd: Command, *keys: str) -> None:
    done = prsgd("train", *SMALL, *keys)
    assert done.returncode == 0, done.stderr


def no_process_left(out: str) -> bool:
    """Whether nothing runs any more that was started with this `out`."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes())
        except OSError:
            continue
    return not any(f"out={out}".encode() in command.split(b"\0") for command in commands)


def method_of_ones_own(folder: Path, source: str) -> tuple[str, ...]:
    """The arguments that choose the class `Mine` of this source."""
    (folder / "mine/algorithm").mkdir(parents=True)
    yaml = "_target_: mymethod.Mine\ninterval: ${interval}\n"
    (folder / "mine/algorithm/mine.yaml").write_text(yaml)
    (folder / "mymethod.py").write_text(dedent(source))
    return "--config-dir", "mine", "plugins=[mymethod]", "algorithm=mine"


@pytest.mark.dist
@pytest.mark.slow
def test_exact_sums_do_not_depend_on_the_processes(prsgd: Command, tmp_path: Path) -> None:
    for processes in (1, 2, 3, 4):
        finish(prsgd, *EXACT, "epochs=7", f"processes={processes}", f"out=P{processes}")
    [whole] = folders(tmp_path / "P1")
    for processes in (2, 3, 4):
        [found] = folders(tmp_path / f"P{processes}")
        assert_same(found, whole)


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        *(pytest.param(f"reduction={r}", marks=pytest.mark.faults) for r in ("exact", "fast")),
        "fragments=2 delay=3 merge=progress momentum_at_sync=keep compression=int8",
    ],
    ids=["exact", "fast", "late"],
)
def test_a_killed_rank_is_started_again(
    prsgd: Command, tmp_path: Path, cache: Path, more: str
) -> None:
    """And the run ends as if nothing had happened; with `fast` for the same P."""
    keys = (*LONG, *more.split(), "processes=2")
    finish(prsgd, *keys, "out=whole")
    child = start(tmp_path, cache, *keys, "out=killed")
    wait_until(lambda: metrics_text(tmp_path / "killed").count("\n") > 20)
    os.kill(children(child.pid)[-1], signal.SIGKILL)
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 0, output
    assert "resuming at step" in output
    assert "a process was lost: started again, 1 of 3 times" in output.splitlines()
    assert "Traceback" not in output
    [found], [whole] = folders(tmp_path / "killed"), folders(tmp_path / "whole")
    assert_same(found, whole)


@pytest.mark.dist
def test_those_who_compute_while_one_dies_are_not_stopped(
    prsgd: Command, tmp_path: Path, cache: Path
) -> None:
    """Torch sends them SIGTERM, which nobody asked for."""
    slow = """
        import time
        from prsgd.algorithms.restarted import PRSGD

        class Mine(PRSGD):
            name = "mine"

            def step(self, t, lr, workers):
                time.sleep(0.2)
                super().step(t, lr, workers)
    """
    mine = (*method_of_ones_own(tmp_path, slow), *EXACT, "interval=8", "epochs=2")
    child = start(tmp_path, cache, *mine, "processes=3", "out=killed")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "killed"))
    time.sleep(0.5)  # eight steps until they meet
    os.kill(children(child.pid)[-1], signal.SIGKILL)
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 0, output
    finish(prsgd, *mine, "processes=1", "out=whole")
    [found], [whole] = folders(tmp_path / "killed"), folders(tmp_path / "whole")
    assert_same(found, whole)


ENDED_BY_TERM = 128 + signal.SIGTERM


@pytest.mark.parametrize("result", [{0: 0, 1: 0}, {0: 1, 1: 1}, None])
def test_a_signal_at_the_end_of_a_run_still_ends_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: dict[int, int] | None
) -> None:
    """When no rank hears it any more, or one died just then."""

    def ranks(*_: Any, **__: Any) -> dict[int, int]:
        os.kill(os.getpid(), signal.SIGTERM)
        if result is None:
            failure = ProcessFailure(0, 1, -9, "")
            raise ChildFailedError("rank_main", {0: failure})
        return result

    monkeypatch.setattr(launch, "start_ranks", ranks)
    run = small_run()
    assert (
        launch.launch(Job(run, replace(here(run), start="fork"), tmp_path, tmp_path))
        == ENDED_BY_TERM
    )


@pytest.mark.parametrize(
    ("status", "why", "stopping", "code", "then"),
    [
        ("running", "", 0, 1, ("failed", "rank 1 ended with exit code -9")),
        ("running", "", SIGNAL_WEIGHTS[signal.SIGTERM], 143, ("interrupted", "SIGTERM")),
        ("interrupted", "SIGINT at step 8", 0, 130, ("interrupted", "SIGINT at step 8")),
        ("done", "", 0, 0, ("done", "")),
        ("diverged", "the loss is nan", 0, 3, ("diverged", "the loss is nan")),
        ("failed", "no space", 0, 1, ("failed", "no space")),
    ],
)
def test_a_rank_that_dies_does_not_change_how_a_run_ended(
    tmp_path: Path, status: str, why: str, stopping: int, code: int, then: tuple[str, str]
) -> None:
    folder = RunFolder(tmp_path)
    folder.set_status(status, why)
    assert launch.end_of(folder, stopping, "rank 1 ended with exit code -9") == code
    assert folder.status() == then


@pytest.mark.dist
def test_an_error_of_ones_own_is_not_tried_again(prsgd: Command, tmp_path: Path) -> None:
    """Only lost processes are worth another start."""
    bad = """
        from prsgd.algorithms import Part, Rounds

        class Mine(Rounds):
            name = "mine"

            def send(self, workers):
                if 0 in workers.communicator.local_workers:
                    raise ValueError("my own mistake")
                return [Part(workers.x)]

            def receive(self, means, lr, workers):
                workers.restart(means[0])
    """
    mine = (*method_of_ones_own(tmp_path, bad), "interval=3")
    failed = prsgd("train", *mine, *SMALL, "processes=2", "epochs=2", "out=bad")
    assert failed.returncode == 1
    assert failed.stderr.count("ValueError: my own mistake") == 1
    assert failed.stderr.endswith("failed: my own mistake\n")


@pytest.mark.parametrize("restarts", ["0", "1"])
@pytest.mark.parametrize("why", ["a process was lost: rank 1 was in step 5", "my own mistake"])
def test_what_is_worth_another_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: str, why: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.set_status("failed", why)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    assert gave_up(folder) == (restarts == "1" and why == "my own mistake")


@pytest.mark.parametrize("error", [UserError("the cache is gone"), OSError("the disk is full")])
def test_what_stops_a_run_that_was_started_again_is_told(tmp_path: Path, error: Exception) -> None:
    """And not the loss before it; another loss tells nothing new."""
    folder = RunFolder(tmp_path)
    lost = "a process was lost: rank 1 was in step 5"
    folder.set_status("failed", lost)
    record_failure(folder, ProcessLost("a process was lost"))
    assert folder.status() == ("failed", lost)
    record_failure(folder, error)
    assert folder.status() == ("failed", str(error))
    record_failure(folder, UserError("what came of it"))
    assert folder.status() == ("failed", str(error))


@pytest.mark.parametrize("name", ["metrics.csv", "rounds.csv"])
def test_a_table_that_is_removed_while_training(
    train_here: Trainer, tmp_path: Path, name: str
) -> None:
    """The run fails with a reason, and is trained anew when it is asked for again."""
    steps = itertools.count(1)

    def remove() -> int:
        if next(steps) == 25:
            (tmp_path / "run" / name).unlink()
        return 0

    with pytest.raises(UserError) as refusal:
        train_here(small_run(), stop=remove)
    why = f"{tmp_path}/run/{name} was removed while the run was trained"
    assert str(refusal.value) == why
    assert RunFolder(tmp_path / "run").status() == ("failed", why)
    status, found = train_here(small_run())
    _, whole = train_here(small_run(), "whole")
    assert status == "done"
    assert_same(found.path, whole.path)


def test_a_done_run_without_its_table_is_skipped(
    train_here: Trainer, prsgd: Command, tmp_path: Path
) -> None:
    _, folder = train_here(small_run())
    for text in ("", "step,epoch\n1,2\n", "step\nnothing\n"):
        (folder.path / "metrics.csv").write_text(text)
        assert folder.last_metrics() == {}
        again = prsgd("run", str(folder.path))
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout == f"{folder.path} is done (): skipped\n"


def test_a_clock_that_goes_backwards(train_here: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = train_here(small_run(), "whole")
    now = itertools.count(2e9, -100)
    monkeypatch.setattr(time, "time", lambda: next(now))
    status, found = train_here(small_run(), "found")
    assert status == "done"
    assert_same(found.path, whole.path)


@pytest.mark.dist
def test_two_jobs_in_one_folder(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    """The second says who has it; when the first was killed, nothing is held any more."""
    child = start(tmp_path, cache, "epochs=3000", "processes=2", "out=held")
    wait_until(lambda: "\n" in metrics_text(tmp_path / "held"))
    second = prsgd("train", *SMALL, "epochs=3000", "processes=2", "out=held")
    assert second.returncode == 1
    [folder] = folders(tmp_path / "held")
    name = folder.relative_to(tmp_path)
    assert second.stderr.startswith(f"prsgd: {name} is being trained by process {child.pid} on ")
    child.kill()
    child.communicate(timeout=60)
    wait_until(lambda: no_process_left("held"))
    third = start(tmp_path, cache, "epochs=3000", "processes=2", "out=held")
    rows = metrics_text(tmp_path / "held").count("\n")
    wait_until(lambda: metrics_text(tmp_path / "held").count("\n") > rows)
    third.send_signal(signal.SIGTERM)
    third.communicate(timeout=60)
    assert third.returncode == 128 + signal.SIGTERM


@pytest.mark.dist
def test_a_sweep_that_is_stopped_shows_what_was_reached(tmp_path: Path, cache: Path) -> None:
    """The second run has not begun, and has no folder yet."""
    child = start(tmp_path, cache, "-m", *LONG, "processes=1", "out=sweep", "seed=0,1", "jobs=1")
    wait_until(lambda: metrics_text(tmp_path / "sweep").count("\n") > 20)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 130, output
    assert "prsgd: " not in output
    table = output.split("to go on: ")[1]
    assert table.count("interrupted: SIGINT at step") == 1
    assert len(folders(tmp_path / "sweep")) == 1


@pytest.mark.dist
def test_a_second_ctrl_c_ends_at_once(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    """And what it leaves can be gone on with."""
    keys = (*LONG, "processes=2", "out=twice")
    child = start(tmp_path, cache, *keys)
    wait_until(lambda: metrics_text(tmp_path / "twice").count("\n") > 20)
    os.kill(children(child.pid)[-1], signal.SIGSTOP)  # so that the first cannot be agreed on
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=1)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=5)
    assert child.returncode == 130
    wait_until(lambda: no_process_left("twice"))
    finish(prsgd, *keys)
    finish(prsgd, *LONG, "processes=1", "out=whole")
    [found], [whole] = folders(tmp_path / "twice"), folders(tmp_path / "whole")
    assert_same(found, whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that has room for nothing much; `remount` changes that."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.dist
def test_a_full_disk_and_a_read_only_one(prsgd: Command, tmp_path: Path, disk: Path) -> None:
    """One line, a code, and nothing lost when it can be written to again."""
    keys = (*LONG, "processes=2", f"out={disk}")
    full = prsgd("train", *SMALL, *keys)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    remount(disk, "size=30m,ro")
    for seed in (0, 1):  # the one that goes on, and a new one
        fixed = prsgd("train", *SMALL, *keys, f"seed={seed}")
        assert fixed.returncode == 2
        assert fixed.stderr == (
            f"prsgd: out={disk}: cannot be written; it must be in a folder that you may write to\n"
        )
    assert "Traceback" not in full.stderr
    remount(disk, "rw")
    finish(prsgd, *keys)
    finish(prsgd, *LONG, "processes=1", "out=whole")
    [found], [whole] = folders(disk), folders(tmp_path / "whole")
    assert_same(found, whole)


@pytest.mark.dist
@pytest.mark.faults
def test_a_process_that_hangs_is_replaced(tmp_path: Path, cache: Path, whole: Path) -> None:
    """After the timeout, and the half minute that torch's agent then gives it."""
    child = start(tmp_path, cache, *LONG, "processes=2", "timeout=4", "out=hangs")
    wait_until(lambda: metrics_text(tmp_path / "hangs").count("\n") > 20)
    os.kill(children(child.pid)[-1], signal.SIGSTOP)
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 0, output
    [found] = folders(tmp_path / "hangs")
    assert_same(found, whole)


@pytest.mark.dist
@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_hangs_is_named(tmp_path: Path, cache: Path, rank: int) -> None:
    keys = ("epochs=3000", "processes=2", "timeout=4", "restarts=0", "out=hangs")
    child = start(tmp_path, cache, *keys)
    wait_until(lambda: "\n" in metrics_text(tmp_path / "hangs"))
    victim = sorted(children(child.pid))[rank]
    os.kill(victim, signal.SIGSTOP)
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 1
    assert f"a process was lost: rank {1 - rank} waited in step " in output
    assert f"; rank {rank} was in step " in output or "; all had come, and one stopped" in output
    assert no_process_left("hangs")


# many times --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    child = start(folder, cache, *LONG, "processes=1", "out=whole")
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 0, output
    [path] = folders(folder / "whole")
    return path


def until_done(begin: Callable[[], subprocess.Popen[str]]) -> None:
    """The same command again and again, as a user would."""
    for _ in range(5):
        child = begin()
        output, _ = child.communicate(timeout=100)
        if child.returncode == 0:
            return
    raise AssertionError(output)


def disturb(
    child: subprocess.Popen[str], draw: random.Random, strike: Callable[[int], None]
) -> None:
    """At a random moment of the first seconds, where it still runs."""
    try:
        child.wait(timeout=draw.uniform(1.0, 6.0))
    except subprocess.TimeoutExpired:
        strike(child.pid)


def kill_rank(draw: random.Random) -> Callable[[int], None]:
    def strike(pid: int) -> None:
        ranks = children(pid)
        if ranks:
            os.kill(draw.choice(ranks), signal.SIGKILL)

    return strike


@pytest.mark.parametrize("trial", range(30))
@pytest.mark.dist
@pytest.mark.faults
def test_thirty_killed_ranks(tmp_path: Path, cache: Path, whole: Path, trial: int) -> None:
    draw = random.Random(trial)
    keys = (*LONG, f"processes={draw.choice((2, 3))}", "out=found")
    child = start(tmp_path, cache, *keys)
    disturb(child, draw, kill_rank(draw))
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 0, output
    [found] = folders(tmp_path / "found")
    assert_same(found, whole)
    assert no_process_left("found"), output


@pytest.mark.parametrize("trial", range(10))
@pytest.mark.dist
@pytest.mark.faults
def test_ten_killed_agents(tmp_path: Path, cache: Path, whole: Path, trial: int) -> None:
    """Their ranks end by themselves, and the same command goes on."""
    draw = random.Random(100 + trial)
    keys = (*LONG, f"processes={draw.choice((2, 3))}", "out=found")
    child = start(tmp_path, cache, *keys)
    disturb(child, draw, lambda pid: os.kill(pid, signal.SIGKILL))
    child.communicate(timeout=60)
    wait_until(lambda: no_process_left("found"), 30)
    until_done(lambda: start(tmp_path, cache, *keys))
    [found] = folders(tmp_path / "found")
    assert_same(found, whole)


@pytest.mark.parametrize("trial", range(20))
@pytest.mark.dist
@pytest.mark.faults
def test_twenty_schedules_of_stops(tmp_path: Path, cache: Path, whole: Path, trial: int) -> None:
    """Stopped at random moments, each time gone on with on another number of processes."""
    draw = random.Random(200 + trial)
    stops = 0
    for _ in range(3):
        keys = (*LONG, f"processes={draw.choice((1, 2, 3, 4))}", "out=found")
        child = start(tmp_path, cache, *keys)
        number = draw.choice((signal.SIGTERM, signal.SIGINT))
        disturb(child, draw, lambda pid, number=number: os.kill(pid, number))
        child.communicate(timeout=60)
        assert child.returncode in (0, 128 + number, -number)  # the last while it still starts
        stops += child.returncode != 0
    assert stops
    until_done(lambda: start(tmp_path, cache, *LONG, "processes=2", "out=found"))
    [found] = folders(tmp_path / "found")
    assert_same(found, whole)


@pytest.mark.dist
@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
def test_a_host_goes_and_comes_back(tmp_path: Path, cache: Path) -> None:
    """Two hosts, then one with all six workers, then two again."""
    script = Path(__file__).parents[1] / "scripts/two_hosts.sh"
    keys = (*EXACT, "epochs=2000", f"out={tmp_path / 'hosts'}")
    alone = [key for key in SMALL if not key.startswith("out=")]
    done = subprocess.run(
        ["sh", str(script), "train", *alone, *keys],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=1000,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    gone, back = said.index("-- host 2 is gone"), said.index("-- host 2 is back")
    assert "resuming at step" in said[gone:back]
    assert "resuming at step" in said[back:]
    undisturbed = start(tmp_path, cache, *EXACT, "epochs=2000", "processes=1", "out=whole")
    undisturbed.communicate(timeout=400)
    assert undisturbed.returncode == 0
    [found], [whole] = folders(tmp_path / "hosts"), folders(tmp_path / "whole")
    assert_same(found, whole)
    assert json.loads((found / "environment.json").read_text())["processes"] == 2


@pytest.mark.dist
@pytest.mark.faults
def test_a_torchrun_that_is_ended_leaves_a_reason_though_a_rank_hangs(
    tmp_path: Path, cache: Path
) -> None:
    """The other waits for it, and torchrun kills both 30 seconds after it has asked them to end."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    agent = subprocess.Popen(
        [*torchrun, "-m", "prsgd", "train", *SMALL, "epochs=3000", "out=asked"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"},
    )
    wait_until(lambda: metrics_text(tmp_path / "asked").count("\n") > 3)
    os.kill(children(agent.pid)[-1], signal.SIGSTOP)
    agent.terminate()
    assert agent.wait(timeout=60) != 0
    [folder] = folders(tmp_path / "asked")
    status, why = RunFolder(folder).status()
    assert status == "failed"
    assert re.fullmatch(r"a process was lost: rank 0 waited in step \d+; .*", why)
