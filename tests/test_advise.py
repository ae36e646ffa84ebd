"""The ring model, the advice made of it, and the command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from math import nan
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, Trainer, part, small_run
from test_launch import children, wait_until
from test_report import fixture_run

from prsgd.cost.advice import (
    corollary_interval,
    intervals,
    needed_interval,
    recommend,
    theory_interval,
)
from prsgd.cost.first import Reached, verdict
from prsgd.cost.network import Costs, averaging_seconds, predict, ring_constants, ring_seconds
from prsgd.distributed.compression import Int8
from prsgd.errors import UserError
from prsgd.measures import OF_IMAGES
from prsgd.run_folder import ROUNDS, RunFolder, tables_of

METRICS = tables_of(OF_IMAGES)["metrics.csv"]


def test_the_ring_by_hand() -> None:
    """4 processes, 1 MB, 1 ms, 1 MB/s: 6 messages, and 6/4 of a second."""
    assert ring_seconds(1e6, 4, 1e-3, 1e6) == pytest.approx(6e-3 + 1.5)
    assert ring_seconds(1e6, 1, 1e-3, 1e6) == 0
    empty, full = ring_seconds(0, 4, 1e-3, 1e6), ring_seconds(1e6, 4, 1e-3, 1e6)
    assert ring_constants(1e6, 4, empty, full) == pytest.approx((1e-3, 1e6))


@pytest.mark.parametrize(
    ("size", "placed", "rings"),
    [
        (4, [range(0, 4), range(4, 8)], []),  # each group within a process
        (4, [range(i, i + 2) for i in (0, 2, 4, 6)], [2]),  # two at once
        (8, [range(i, i + 2) for i in (0, 2, 4, 6)], [4]),
        (4, [range(i, i + 3) for i in (0, 3, 6, 9)], [2, 2, 2]),  # each waits for the one before
        (2, [range(0, 3), range(3, 6)], [2]),  # the second of three groups alone
    ],
)
def test_groups_by_hand(size: int, placed: list[range], rings: list[int]) -> None:
    expected = sum(ring_seconds(1e6, ring, 1e-3, 1e6) for ring in rings)
    assert averaging_seconds(1e6, size, placed, 1e-3, 1e6) == pytest.approx(expected)


def test_processes_may_host_unequal_numbers_of_workers(prsgd: Command) -> None:
    """4 workers on 3 processes: a ring of 3, as for 3 workers. exact waits for three rings."""
    network = ["--step-ms=10", "--latency-ms=1", "--bandwidth-mbit=8"]

    def averaging(*keys: str) -> float:
        told = prsgd("advise", "data=digits", "model=mlp", *keys, *network).stdout
        return float(re.search(r"an averaging ([\d.]+) ms", " ".join(told.split()))[1])

    size = 3072 * 64 + 64 + 64 * 10 + 10
    ring = 1000 * ring_seconds(4 * size, 3, 1e-3, 1e6)
    assert averaging("workers=4", "processes=3") == pytest.approx(ring, rel=1e-3)
    ring = 1000 * ring_seconds(8 * size, 4, 1e-3, 1e6) + 12
    four = ("workers=4", "processes=4", "reduction=exact")
    assert averaging(*four) == pytest.approx(ring, rel=1e-3)
    parts = averaging(*four, "fragments=2")
    assert parts == pytest.approx(ring + 18, rel=1e-3)  # another three rings of empty messages
    keys = ("data=digits", "model=mlp", *four, "groups={2:2}")
    told = " ".join(prsgd("advise", *keys, *network).stdout.split())
    pair = 1000 * ring_seconds(8 * size, 2, 1e-3, 1e6) + 4
    assert f"one within groups {pair:.4g} ms" in told


def test_the_corollarys_interval_is_not_rounded_to_the_one_below() -> None:
    """T^(1/4) / N^(3/4) = I exactly, for 18 and more N and T."""
    for workers in (1, 4, 16, 81):
        for interval in range(1, 30):
            steps = round((interval * workers**0.75) ** 4)
            assert corollary_interval(workers, steps) == interval, (workers, steps)
            if steps > 1:
                assert corollary_interval(workers, steps - 1) == max(1, interval - 1)


def test_a_published_measurement() -> None:
    """ResNet-50 on 32 V100: images/s at I = 1, 2, 4, 8, 16; 0.430 + 0.065/I seconds, batch 128."""
    published = {2: 8716, 4: 8763, 8: 9185}
    for interval, speed in published.items():
        found = predict(Costs(0.430, 0.065), interval, 32 * 128).units_per_second
        assert found == pytest.approx(speed, rel=0.05)


def test_the_needed_interval_is_the_smallest() -> None:
    costs = Costs(step=0.1, round=0.3)
    needed = needed_interval(costs, 0.05)
    assert predict(costs, needed, 1).share <= 0.05 < predict(costs, needed - 1, 1).share
    assert needed_interval(Costs(1.0, 1e-3), 0.05) == 1
    assert needed_interval(Costs(1.0, 19.0), 0.5) == 19  # exactly half


def test_the_needed_interval_beside_groups_is_the_smallest() -> None:
    """Groups average every 4th step, but where all do."""
    costs = Costs(step=1.0, round=0.9, group=0.1, averagings=0.25)
    assert predict(costs, 16, 1).seconds == pytest.approx(1 + 0.9 / 16 + 0.1 * (1 / 4 - 1 / 16))
    assert predict(costs, 2, 1).seconds == pytest.approx(1 + 0.9 / 2)
    for share in (0.03, 0.05, 0.1, 0.3):
        needed = needed_interval(costs, share)
        assert predict(costs, needed, 1).share <= share < predict(costs, needed - 1, 1).share
    advice = recommend(costs, 8, 1000, 0.02)
    assert predict(costs, 10**9, 1).share > 0.02
    assert advice.sentence.startswith("Even a single averaging of all after T = 1,000 steps leaves")
    assert recommend(costs, 8, 1000, 0.1).sentence.startswith("Try algorithm.levels={..., 8: 10}, ")


def test_the_theory_by_hand() -> None:
    assert theory_interval(16, 2**16) == pytest.approx(2)
    assert theory_interval(1, 4096) == pytest.approx(8)


@pytest.mark.parametrize(
    ("costs", "workers", "steps", "sentence"),
    [
        (Costs(1.0, 0.01), 8, 10_000, "Use interval=1 or algorithm=minibatch: communication takes"),
        (Costs(1.0, 0.1), 2, 10_000, "Use interval=2: communication falls to 4.8% of the time"),
        (
            Costs(0.1, 40.0),
            8,
            32,
            "Even algorithm=one_shot, a single averaging after all T = 32 steps",
        ),
        (Costs(1.0, 10.0), 8, 10_000, "Try interval=190, which brings communication down to 5.0%"),
    ],
)
def test_the_sentence(costs: Costs, workers: int, steps: int, sentence: str) -> None:
    advice = recommend(costs, workers, steps, 0.05)
    assert advice.sentence.startswith(sentence)
    listed = intervals(advice, steps)
    assert listed[0] == 1
    assert advice.interval in listed or advice.interval > steps
    assert listed == sorted(listed)


GIVEN = ["--step-ms", "100", "--latency-ms", "1", "--bandwidth-mbit", "100"]
KEYS = ["data=synthetic", "workers=8", "processes=2", "precision=fp32"]


def test_from_given_figures(prsgd: Command, tmp_path: Path) -> None:
    """1,078,888 bytes at 12.5 MB/s: 86.3 ms, and two messages of 1 ms."""
    done = prsgd("advise", *KEYS, *GIVEN)
    assert done.returncode == 0, done.stderr
    assert "a step 100 ms, an averaging 88.31 ms (as given)" in done.stdout
    assert re.search(r"^ *1 +188\.3 +1,359 +1\.00 × +46\.9%", done.stdout, re.MULTILINE)
    assert "Try interval=17, which brings communication down to 4.9% of the time" in done.stdout
    assert not list(tmp_path.iterdir())
    doubled = prsgd("advise", *KEYS, *GIVEN, "momentum=0.9")
    assert "an averaging 174.6 ms" in doubled.stdout


HIERARCHICAL = ["algorithm=hierarchical", "algorithm.levels={4: 2, 8: 16}", "epochs=16"]


def test_groups_from_given_figures(prsgd: Command) -> None:
    """Groups of 4 on two processes of 2: 88.31 ms as above, in steps 2, 4, ... but 16, 32, ...

    All 8 on four: 6 messages and 3/2 of 86.31 ms. T = 32.
    """
    keys = [key for key in KEYS if key != "processes=2"]
    done = prsgd("advise", *keys, "processes=4", *HIERARCHICAL, *GIVEN)
    assert done.returncode == 0, done.stderr
    assert (
        "T = 32: a step 100 ms, an averaging 135.5 ms, one within groups 88.31 ms, 1.08 MB, "
        "0.438 a step (as given)"
    ) in done.stdout.replace("\n", " ")
    at_16 = 100 + 135.467 / 16 + 88.311 * 14 / 32
    assert re.search(rf"^ *16 +{at_16:.1f} ", done.stdout, re.MULTILINE)
    assert re.search(r"^ *1 +235\.5 ", done.stdout, re.MULTILINE)  # no step is left for groups
    apart = prsgd("advise", *KEYS, *HIERARCHICAL, *GIVEN)
    assert "one within groups 0 ms, 1.08 MB, 0.438 a step" in apart.stdout.replace("\n", " ")


def test_a_finished_runs_groups_by_hand(prsgd: Command, tmp_path: Path) -> None:
    """20 steps in 3 s of which 1 s was spent sending: two rounds of 0.3 s, four of 0.1 s."""
    levels = part("hierarchical", levels={2: 3, 4: 9})
    folder = RunFolder(tmp_path / "run")
    folder.create(
        small_run(algorithm=levels, workers=4, batch_size=2, epochs=1).as_dict(), OF_IMAGES
    )
    folder.begin_tables()
    row = {**dict.fromkeys(METRICS, 0), "step": 20, "comm_seconds": 1, "train_seconds": 3}
    folder.append("metrics.csv", [row])
    folder.write_environment({"processes": 4})
    rounds = [(2, 0.1), (2, 0.1), (4, 0.3), (2, 0.1), (2, 0.1), (4, 0.3)]
    zeros = {**dict.fromkeys(ROUNDS, 0), "payload_bytes": 1500}
    folder.append("rounds.csv", [{**zeros, "group": g, "seconds": s} for g, s in rounds])
    done = prsgd("advise", "--from", str(folder.path))
    said = done.stdout.replace("\n", " ")
    assert "a step 100 ms, an averaging 300 ms, one within groups 100 ms, 1.5 kB, 0.2 a" in said
    seconds = 100 + 300 / 16 + 100 * (6 / 20 - 1 / 16)
    assert re.search(rf"^ *16 +{seconds:.1f} ", done.stdout, re.MULTILINE)


def test_a_plan_is_for_the_processes_that_are_planned(prsgd: Command) -> None:
    """One for each worker unless it says otherwise, however many cores this machine has."""
    keys = [key for key in KEYS if key != "processes=2"]
    assert "N = 8 on 8 processes" in prsgd("advise", *keys, *GIVEN).stdout
    assert "N = 8 on 4 processes" in prsgd("advise", *keys, "processes=4", *GIVEN).stdout


def test_what_is_coded_and_cut_is_advised_for(prsgd: Command) -> None:
    """Of 4 processes at 80 Mbit/s and 1 ms: 1.5 times the message, in 2 hops; four fragments of
    a quarter each take 4 times 6 hops."""
    keys = ["data=synthetic", "model=mlp", "workers=4", "precision=fp32", "--step-ms=1"]
    link = ["--latency-ms=1", "--bandwidth-mbit=80"]

    def averaging(*more: str) -> float:
        done = prsgd("advise", *keys, *link, *more)
        [found] = re.findall(r"an averaging ([\d.]+) ms", done.stdout)
        return float(found)

    plain = averaging()
    numbers = (plain - 6) * 1e4 / 1.5 / 4
    assert averaging("compression=int8") == pytest.approx(
        2 + 1.5 * Int8().message_bytes(round(numbers)) / 1e4, rel=1e-3
    )
    assert averaging("fragments=4") == pytest.approx(plain + 18, rel=1e-3)


def test_a_finished_run_on_another_network(prsgd: Command, tmp_path: Path) -> None:
    """Two workers in one process, 20 ms a gradient; 400 bytes in 2 hops and 1 byte a ms."""
    path = fixture_run(tmp_path, workers=2, algorithm=part("prsgd", interval=2))
    arguments = ["advise", "--from", str(path), "--latency-ms=3", "--bandwidth-mbit=0.008"]
    done = prsgd(*arguments)
    assert "N = 2 on 2 processes" in done.stdout, done.stderr
    assert "a step 20 ms, an averaging 406 ms" in done.stdout
    assert "a step 40 ms, an averaging 0 ms" in prsgd(*arguments, "--processes=1").stdout


def test_a_sweep_says_who_reaches_a_loss_first(prsgd: Command, tmp_path: Path) -> None:
    for interval, rates in {2: (0.5, 0.6), 8: (0.5, 0.4)}.items():
        for seed, rate in enumerate(rates):
            method = part("prsgd", interval=interval)
            path = fixture_run(tmp_path, rate, seed=seed, workers=2, algorithm=method)
            if interval == 8:
                rounds = pd.read_csv(path / "rounds.csv")
                rounds.iloc[3::4].assign(local_steps="8").to_csv(path / "rounds.csv", index=False)
    ask = ["advise", "--from", str(tmp_path), "--loss=0.2"]
    slow = prsgd(*ask, "--bandwidth-mbit=0.008")
    assert slow.returncode == 0, slow.stderr
    assert "PR-SGD, I = 8 reaches the training loss 0.2 first" in slow.stdout
    assert "faster in 4 of 4 pairs of seeds." in slow.stdout
    fast = prsgd(*ask, "--bandwidth-mbit=1000")
    assert "PR-SGD, I = 2 reaches the training loss 0.2 first" in fast.stdout
    assert "faster in 3 of 4 pairs of seeds." in fast.stdout
    never = prsgd(*ask[:-1], "--loss=0.0001", "--bandwidth-mbit=1")
    line = "No curve reaches the training loss 0.0001 with every seed: ask for a higher one."
    assert line in never.stdout
    assert "0 of 2" in never.stdout
    at_once = prsgd(*ask[:-1], "--loss=2", "--bandwidth-mbit=1")
    assert "The training loss 2 is there before the first step" in at_once.stdout


@pytest.mark.parametrize(
    ("curves", "sentence"),
    [
        (
            [Reached("A", [2.0, 4.0], 1), Reached("B", [5.0, 3.0], 1), Reached("C", [nan], 1)],
            "A reaches the training loss 0.5 first, 1.33 times as fast as the next, B, and it is "
            "faster in 3 of 4 pairs of seeds.",
        ),
        (
            [Reached("A", [2.0], 1), Reached("B", [1.0], 1)],
            "B reaches the training loss 0.5 first, 2.00 times as fast as the next, A. There is "
            "one seed of each, so nobody knows how sure that is.",
        ),
        (
            [Reached("A", [2.0], 1), Reached("B", [1.0, nan], 1)],
            "A reaches the training loss 0.5 first, and no other curve does with every seed.",
        ),
        (
            [Reached("A", [0.0], 0), Reached("B", [0.0], 0)],
            "The training loss 0.5 is there before the first step: ask for a lower one.",
        ),
    ],
)
def test_the_verdict(curves: list[Reached], sentence: str) -> None:
    assert verdict(curves, 0.5) == sentence


def test_from_a_finished_run(prsgd: Command, train_here: Trainer) -> None:
    _, folder = train_here(small_run(algorithm=part("prsgd", interval=2)))
    done = prsgd("advise", "--from", str(folder.path))
    assert done.returncode == 0, done.stderr
    assert f"from {folder.path}" in done.stdout
    assert "Use interval=1 or algorithm=minibatch" in done.stdout


def test_a_finished_runs_figures_by_hand(prsgd: Command, tmp_path: Path) -> None:
    """40 steps in 5 s of which 1 s was spent sending, in rounds of 0.3 and 0.5 s: 100 and 400 ms.

    160 images and b = 4: Algorithm 3 draws 2 + 1 batches in two steps.
    """
    unequal = part("unequal", local_steps=[2, 1])
    run = small_run(algorithm=unequal, epochs=1)
    folder = RunFolder(tmp_path / "run")
    folder.create(run.as_dict(), OF_IMAGES)
    folder.begin_tables()
    row = {**dict.fromkeys(METRICS, 0), "step": 40, "comm_seconds": 1, "train_seconds": 5}
    folder.append("metrics.csv", [row])
    arguments = ["advise", "--from", str(folder.path), "--share", "0.5"]
    refused = prsgd(*arguments)
    assert refused.returncode == 2
    assert "it has not averaged yet; give a run that has trained for longer" in refused.stderr
    folder.write_environment({"processes": 2})
    rounds = [
        {**dict.fromkeys(ROUNDS, 0), "group": 2, "seconds": seconds} for seconds in (0.3, 0.5)
    ]
    folder.append("rounds.csv", rounds)
    done = prsgd(*arguments)
    assert "T = 27: a step 100 ms, an averaging 400 ms" in done.stdout, done.stderr
    # at I = 4: (27 * 3 / 2 rounded up) = 41 draws of 4 images in 27 steps of 100 + 400 / 4 ms
    assert re.search(rf"^ *4 +200 +{41 * 4 / 27 / 0.2:.0f} ", done.stdout, re.MULTILINE)


def test_a_finished_runs_fragments_are_one_averaging(prsgd: Command, tmp_path: Path) -> None:
    """Two fragments of 100 and 200 ms: an averaging of the model takes 300."""
    folder = RunFolder(tmp_path / "run")
    run = small_run(algorithm=part("prsgd", interval=4, fragments=2), fragments=2)
    folder.create(run.as_dict(), OF_IMAGES)
    folder.begin_tables()
    row = {**dict.fromkeys(METRICS, 0), "step": 40, "comm_seconds": 1, "train_seconds": 5}
    folder.append("metrics.csv", [row])
    folder.write_environment({"processes": 2})
    seconds = (0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1)
    rows = [{**dict.fromkeys(ROUNDS, 0), "group": 2, "seconds": each} for each in seconds]
    folder.append("rounds.csv", rows)
    done = prsgd("advise", "--from", str(folder.path))
    assert "a step 100 ms, an averaging 300 ms" in done.stdout, done.stderr


def test_a_finished_runs_delay_is_refused_and_its_start_is_checked(
    prsgd: Command, tmp_path: Path
) -> None:
    late = fixture_run(tmp_path, algorithm=part("prsgd", interval=4, delay=2), delay=2)
    refused = prsgd("advise", "--from", str(late))
    assert refused.returncode == 2
    assert refused.stderr.startswith("prsgd: delay=2: advice does not know what a delay hides; ")
    path = fixture_run(tmp_path)
    refused = prsgd("advise", "--from", str(path), f"start={tmp_path}/x.safetensors")
    assert refused.returncode == 2
    assert f"{path} did not start at a file" in refused.stderr


def test_a_measured_network_is_the_same_for_every_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An all-reduce of whole numbers took 100 ms; int8 sends a quarter of the bytes."""
    from prsgd.cli import advise
    from prsgd.launch import calibrate
    from prsgd.training.calibrate import Measured

    monkeypatch.setattr(calibrate, "calibrate", lambda *_: Measured(0.1, 0.0, 0.1))
    found = []
    for code in ("none", "int8"):
        assert advise.main([*KEYS, "--calibrate", f"compression={code}"]) == 0
        found.append(float(re.findall(r"an averaging ([0-9.]+) ms", capsys.readouterr().out)[0]))
    assert found[0] == pytest.approx(100, rel=1e-3)
    assert found[1] < 0.7 * found[0]


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_calibration(prsgd: Command, processes: int) -> None:
    small = ["model=mlp", "data=synthetic", "data.size=8", "workers=4", "device=cpu"]
    done = prsgd("advise", "--calibrate", *small, f"processes={processes}")
    assert done.returncode == 0, done.stderr
    step, averaging = map(float, re.findall(r"(?:step|averaging) ([\d.e-]+) ms", done.stdout))
    assert 0 < step < 1000
    assert (averaging > 0) == (processes > 1)
    assert "(measured here)" in done.stdout


@pytest.mark.dist
def test_control_c_while_calibrating(tmp_path: Path) -> None:
    keys = ["model=resnet110", "data=synthetic", "workers=8", "processes=2", "device=cpu"]
    child = subprocess.Popen(
        [sys.executable, "-m", "prsgd", "advise", "--calibrate", *keys],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: len(children(child.pid)) >= 2)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=40)
    assert child.returncode == 130, output
    assert output == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*KEYS, *GIVEN[:4]], "--bandwidth-mbit is not known: give it, or --calibrate, or --from"),
        ([*KEYS, *GIVEN, "--share", "1"], "--share=1: must be below 1"),
        (
            ["--from", "x", "workers=4"],
            "workers=4: the run folder has its keys; only plugins=[...], data.root=... and "
            "start=... fit",
        ),
        (
            ["--from", "x", "--config-dir", "mine"],
            "--config-dir=mine: the run folder has its keys; only plugins=[...], data.root=... ",
        ),
        (
            ["--from", "x", *GIVEN],
            "--from: the run folder has the costs; only those of another network fit, "
            "--bandwidth-mbit and --latency-ms",
        ),
        (["--loss=1", *KEYS, *GIVEN], "--loss: needs --from SWEEP, a folder of runs"),
        (
            ["--processes=2", *KEYS, *GIVEN],
            "--processes: needs --from and --bandwidth-mbit; a plan has processes=P",
        ),
        (
            ["delay=2", *KEYS, *GIVEN],
            "delay=2: advice does not know what a delay hides; leave it out",
        ),
        (["--from", "."], "--from SWEEP: needs --bandwidth-mbit, for which network to advise"),
        (["--from", ".", "--bandwidth-mbit=1"], ".: there is no finished run in it"),
        (
            ["--from", ".", "--share=0.1", "--bandwidth-mbit=1"],
            "--from SWEEP: takes only --loss, --latency-ms, --bandwidth-mbit, "
            "--group-bandwidth-mbit, --processes and --jitter",
        ),
        (
            ["--from", ".", "--calibrate", "--bandwidth-mbit=1"],
            "--from SWEEP: takes only --loss, --latency-ms, --bandwidth-mbit, "
            "--group-bandwidth-mbit, --processes and --jitter",
        ),
        (
            ["data=synthetic", "processes=1", *GIVEN],
            "one process hosts all the workers and sends nothing; give processes=P",
        ),
        (["--from", "x"], "x is not a run folder: it has no config.yaml"),
        (["+experiment=short", *GIVEN], "advice is for one run; leave out the sweep"),
        (["wrokers=4", *GIVEN], "wrokers: there is no such key; did you mean workers?"),
    ],
)
def test_bad_input_gets_one_line(prsgd: Command, arguments: list[str], message: str) -> None:
    done = prsgd("advise", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"prsgd: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            ["workers=8", "participation=0.5"],
            "participation=0.5: advice is for rounds of all workers; --from SWEEP compares "
            "finished runs",
        ),
        (
            ["delay=2", "merge=0.5"],
            "delay=2: advice does not know what a delay hides; leave it out, or compare finished "
            "runs with --from SWEEP",
        ),
    ],
)
def test_what_advice_knows_nothing_of_is_refused_before_anything_is_measured(
    prsgd: Command, monkeypatch: pytest.MonkeyPatch, keys: list[str], line: str
) -> None:
    from prsgd.cli import advise
    from prsgd.launch import calibrate

    def measured(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(calibrate, "calibrate", measured)
    with pytest.raises(UserError) as caught:
        advise.main(["data=digits", "model=mlp", "--calibrate", *keys])
    assert str(caught.value) == line
