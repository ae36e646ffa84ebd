"""Time on any network, from records alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import part
from test_report import fixture_run

from prsgd.cli.figures import main
from prsgd.cost.clocks import Averaging, Pace, clocks
from prsgd.cost.network import MBIT, Network, ring_seconds
from prsgd.cost.replay import Transfer, replay
from prsgd.distributed.compression import BF16, Int8, RandomK, TopK, Uncompressed
from prsgd.errors import UserError
from prsgd.report.bandwidth import BANDWIDTHS, regions, times_to
from prsgd.report.curves import groups
from prsgd.report.replayed import Replayed, step_seconds
from prsgd.report.runs import load
from prsgd.report.tables import at_target


def test_rounds_that_are_waited_for_add_up() -> None:
    stalls = replay([Transfer(2, 2, 0.5), Transfer(4, 4, 0.5), Transfer(6, 6, 1)], 7)
    assert [stalls.time(t) for t in (0, 1, 2, 3, 4, 6, 7)] == [0, 1, 2.5, 3.5, 5, 8, 9]


def test_late_rounds_are_hidden_by_computing() -> None:
    hidden = replay([Transfer(2, 4, 1.5), Transfer(6, 8, 2)], 10)
    assert hidden.time(10) == 10
    partly = replay([Transfer(2, 4, 3), Transfer(6, 8, 3)], 10)
    assert [partly.time(t) for t in (3, 4, 7, 8)] == [3, 5, 8, 10]


def test_links_carry_one_round_after_another() -> None:
    """The second is sent while the first is under way, and comes 5 after it was sent."""
    stalls = replay([Transfer(0, 4, 3), Transfer(1, 5, 4)], 9)
    assert [stalls.time(t) for t in (4, 5)] == [4, 7]


def test_what_is_under_way_at_the_end_is_waited_for() -> None:
    stalls = replay([Transfer(3, 8, 4)], 5)
    assert [stalls.time(t) for t in (4, 5)] == [4, 7]


def test_a_mean_may_be_due_when_the_next_leaves() -> None:
    stalls = replay([Transfer(2, 4, 5), Transfer(4, 6, 1)], 6)
    assert [stalls.time(t) for t in (3, 4, 6)] == [3, 7, 9]


P, SIZE = 4, 25_600  # numbers: 100 blocks


def test_what_a_process_sends() -> None:
    """By hand, for a worker a process, and for eight."""
    whole = 4 * SIZE
    assert Uncompressed().wire_bytes(whole, P) == 1.5 * whole
    assert Uncompressed().hops(P) == 6
    assert BF16().wire_bytes(whole // 2, P) == 0.75 * whole
    assert Int8().wire_bytes(26_000, P) == 1.5 * 26_000
    assert Int8().wire_bytes(26_000, P, 8) == 0.75 * (whole + 26_000), "the sum is smaller"
    assert Int8().hops(P) == 2
    assert TopK(ratio=0.01).wire_bytes(8 * 256, P) == 3 * 8 * 256
    assert TopK(ratio=0.01).hops(P) == 1
    assert TopK(ratio=0.2).wire_bytes(8 * 5120, P, 8) == pytest.approx(1.5 * whole, rel=1e-3)
    assert RandomK(ratio=0.01).wire_bytes(1024, P) == 1.5 * 1024
    both = Uncompressed()
    seconds = both.hops(P) * 0.001 + both.wire_bytes(whole, P) / 1e6
    assert seconds == pytest.approx(ring_seconds(whole, P, 0.001, 1e6))


def only(folder: Path) -> Replayed:
    [run], left_out = load(folder)
    assert not left_out
    return Replayed(run)


def test_a_run_on_a_network_by_hand(tmp_path: Path) -> None:
    """Two workers in one process: 5 s of training less 0.5 s each of sending and waiting, in 100
    steps of two gradients. Fifty rounds of 400 bytes, every two steps."""
    fixture_run(tmp_path, algorithm=part("prsgd", interval=2), workers=2)
    own = only(tmp_path)
    step = 4 / 200
    assert own.step_seconds == pytest.approx(step)
    free = own.seconds(Network(0.0, np.inf))
    np.testing.assert_allclose(free, step * 20 * np.arange(6))
    slow = own.seconds(Network(0.001, 1000.0))
    round_ = 2 * 0.001 + 400 / 1000
    np.testing.assert_allclose(slow, (step * 20 + 10 * round_) * np.arange(6))
    alone = own.seconds(Network(0.001, 1000.0, processes=1))
    np.testing.assert_allclose(alone, 2 * step * 20 * np.arange(6))


def test_a_delay_hides_rounds(tmp_path: Path) -> None:
    keys = {"delay": 1, "merge": "progress"}
    fixture_run(tmp_path, algorithm=part("prsgd", interval=2, **keys), workers=2, **keys)
    own = only(tmp_path)
    step = own.step_seconds
    hidden = own.seconds(Network(0.0, 400 / (0.9 * step)))
    np.testing.assert_allclose(hidden[:-1], step * 20 * np.arange(5))
    assert hidden[-1] == pytest.approx(100 * step + 0.9 * step)  # nothing is left to hide behind
    seen = own.seconds(Network(0.0, 400 / (1.5 * step)))
    np.testing.assert_allclose(np.diff(seen)[1:-1], step * 20 + 10 * 0.5 * step)


def test_groups_have_links_of_their_own(tmp_path: Path) -> None:
    path = fixture_run(tmp_path, workers=4, algorithm=part("prsgd", interval=2))
    rounds = pd.read_csv(path / "rounds.csv")
    rounds["group"] = [2, 4] * 25
    rounds.to_csv(path / "rounds.csv", index=False)
    own = only(tmp_path)
    apart = own.seconds(Network(0.0, 1000.0, group_bandwidth=10_000.0))
    computing = 100 * own.step_seconds
    assert apart[-1] == pytest.approx(computing + 25 * 0.4 / 10 + 25 * 0.6)
    alike = own.seconds(Network(0.0, 1000.0))
    assert alike[-1] == pytest.approx(computing + 25 * 0.4 + 25 * 0.6)
    pairs = own.seconds(Network(0.0, 1000.0, processes=2))
    assert pairs[-1] == pytest.approx(2 * computing + 25 * 0.4), "pairs are on one device"


def test_idle_workers_make_no_step_cheaper(tmp_path: Path) -> None:
    """Of 2 + 1 gradients in a round the process computed three, and a device computes two."""
    path = fixture_run(tmp_path, workers=2, algorithm=part("prsgd", interval=2))
    rounds = pd.read_csv(path / "rounds.csv")
    rounds["local_steps"] = "2 1"
    rounds.to_csv(path / "rounds.csv", index=False)
    [run], _ = load(tmp_path)
    assert step_seconds(run) == pytest.approx(4 / 150)


def test_the_fastest_by_bandwidth() -> None:
    times = np.array([[5.0, 3, 2, 2], [4, 4, 4, 4], [9, 3.5, 1, 1]])
    assert regions(times) == [(1, 0, 0), (0, 1, 1), (2, 2, 3)]


def test_times_to_a_loss_on_all_networks(tmp_path: Path) -> None:
    for interval, rate in ((2, 0.5), (8, 0.3)):
        path = fixture_run(tmp_path, rate, workers=2, algorithm=part("prsgd", interval=interval))
        if interval == 8:
            rounds = pd.read_csv(path / "rounds.csv")
            rounds.iloc[3::4].assign(local_steps="8").to_csv(path / "rounds.csv", index=False)
    [group] = groups(load(tmp_path)[0])
    target = float(np.exp(-0.3 * 5))
    found = times_to(target, group, Network(0.0))
    assert found.shape == (2, len(BANDWIDTHS))
    assert (np.diff(found, axis=1) <= 0).all()
    own = Replayed(group.curves[0].runs[0])
    frame = (
        group.curves[0]
        .runs[0]
        .metrics.assign(train_seconds=own.seconds(Network(0.0, float(BANDWIDTHS[7]))))
    )
    assert found[0, 7] == pytest.approx(at_target(frame, "train_seconds", target))


FIGURES = {f"{name}.{kind}" for name in ("network", "bandwidth") for kind in ("png", "svg")}


def drawn(folder: Path) -> set[str]:
    [summary] = folder.rglob("summary.md")
    return {path.name for path in summary.parent.iterdir()} & FIGURES


def texts(folder: Path, name: str) -> str:
    [path] = folder.rglob(f"{name}.svg")
    return " ".join(path.read_text().split())


def test_figures_of_networks_are_drawn_where_they_are_asked_for(tmp_path: Path) -> None:
    for interval in (2, 8):
        fixture_run(tmp_path / "r", workers=2, algorithm=part("prsgd", interval=interval))
    out = [str(tmp_path / "r"), "--out", str(tmp_path / "out")]
    assert main([*out, "--bandwidth-mbit=100", "--latency-ms=1"]) == 0
    assert drawn(tmp_path / "out") == FIGURES
    assert "replayed with one worker a device" in texts(tmp_path, "network")
    assert "links of 1 ms and 100 Mbit/s" in texts(tmp_path, "network")
    assert "Fastest: PR-SGD, I" in texts(tmp_path, "bandwidth")
    assert main([*out, "--latency-ms=1"]) == 0
    assert drawn(tmp_path / "out") == {"bandwidth.png", "bandwidth.svg"}
    assert main(out) == 0
    assert drawn(tmp_path / "out") == set()
    network = {"bandwidth_mbit": 10, "group_bandwidth_mbit": 1000, "processes": 2}
    (tmp_path / "r" / "figures.yaml").write_text(yaml.safe_dump({"network": network}))
    assert main(out) == 0
    assert drawn(tmp_path / "out") == FIGURES
    assert "replayed with 2 processes" in texts(tmp_path, "network")
    assert "1000 Mbit/s within groups" in texts(tmp_path, "network")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"bandwidth_mbit": -1}, "network: bandwidth_mbit=-1: must be a number above 0"),
        ({"bandwidth_mbit": "fast"}, "network: bandwidth_mbit=fast: must be a number above 0"),
        ({"processes": 1.5}, "network: processes=1.5: must be a whole number"),
        ({"latency_ms": True}, "network: latency_ms=True: must be a number above 0"),
        (
            {"speed": 1},
            "network={'speed': 1}: must have keys among latency_ms, bandwidth_mbit, "
            "group_bandwidth_mbit, processes, jitter",
        ),
        (
            7,
            "network=7: must have keys among latency_ms, bandwidth_mbit, group_bandwidth_mbit, "
            "processes, jitter",
        ),
    ],
)
def test_what_a_network_may_not_be(given: Any, line: str, tmp_path: Path) -> None:
    fixture_run(tmp_path)
    (tmp_path / "figures.yaml").write_text(yaml.safe_dump({"network": given}))
    with pytest.raises(UserError) as caught:
        main([str(tmp_path)])
    assert str(caught.value) == f"{tmp_path}/figures.yaml: {line}"


def test_what_the_command_line_may_not_say(tmp_path: Path) -> None:
    fixture_run(tmp_path)
    with pytest.raises(UserError) as caught:
        main([str(tmp_path), "--bandwidth-mbit=0"])
    assert str(caught.value) == "bandwidth_mbit=0.0: must be a number above 0"


def test_records_that_do_not_say_enough_are_not_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fixture_run(tmp_path)
    environment = json.loads((path / "environment.json").read_text())
    del environment["processes"]
    (path / "environment.json").write_text(json.dumps(environment))
    assert main([str(tmp_path), "--bandwidth-mbit=100"]) == 0
    line = f"not drawn for a network: {path}: its environment.json does not say how many processes"
    assert f"{line} it had\n" in capsys.readouterr().out
    assert drawn(tmp_path) == set()


def test_messages_of_a_plugin_are_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fixture_run(tmp_path)
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["compression"] = {"_target_": "mine.Half"}
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert main([str(tmp_path), "--bandwidth-mbit=100"]) == 0
    line = "not drawn for a network: compression=mine.Half: only prsgd's own can be sent over "
    assert f"{line}another network\n" in capsys.readouterr().out


def test_the_default_latency_is_none() -> None:
    from prsgd.report.declared import asked_network

    assert asked_network({"bandwidth_mbit": 8}) == Network(0.0, 8 * MBIT)
    assert asked_network({"latency_ms": 0}) == Network(0.0)
    assert asked_network({}) is None


# step times that scatter -------------------------------------------------------------------------


def computed(
    averagings: list[Averaging], steps: int, speeds: list[float], jitter: float = 0.0, **more: int
) -> Any:
    own = {"delay": 0, "processes": len(speeds)} | more
    pace, draws = Pace(speeds, jitter), np.random.default_rng(0)
    return clocks(averagings, steps, own["delay"], own["processes"], pace, draws)


def test_workers_wait_for_the_slowest_in_every_round() -> None:
    """The second takes 2 for a step, and none in its last round."""
    rounds = [Averaging(2, 2, [2, 2]), Averaging(5, 2, [3, 1])]
    assert computed(rounds, 6, [1, 0.5]).tolist() == [0, 2, 4, 6, 6, 7, 9]
    alone = computed(rounds, 6, [1, 0.5], processes=1)
    assert alone.tolist() == [0, 3, 6, 9, 10, 11, 14]


def test_groups_wait_for_their_own() -> None:
    """Of two pairs each has one slow worker in one step, and they meet at the end only."""
    rounds = [Averaging(1, 2, [1, 0, 1, 1]), Averaging(2, 4, [1, 1, 0, 1])]
    assert computed(rounds, 2, [0.5, 1, 1, 0.25]).tolist() == [0, 4, 8]
    assert computed(rounds, 2, [0.5, 1, 1, 1]).tolist() == [0, 2, 4]
    apart = [Averaging(1, 2, [1, 1, 0, 0]), Averaging(2, 4, [0, 0, 1, 1])]
    assert computed(apart, 2, [0.25, 1, 1, 0.5]).tolist() == [0, 4, 4]


def test_a_delay_lets_nobody_wait_who_is_late_himself() -> None:
    """The second does the first round alone; the first waits where its means are due."""
    rounds = [Averaging(1, 2, [1, 1]), Averaging(3, 2, [2, 2])]
    assert computed(rounds, 3, [1, 1], delay=1).tolist() == [0, 1, 2, 3]
    uneven = [Averaging(1, 2, [0, 1]), Averaging(3, 2, [2, 0])]
    assert computed(uneven, 3, [1, 0.2], delay=1).tolist() == [0, 5, 5, 6]
    assert computed(uneven, 3, [1, 0.2], delay=2).tolist() == [0, 5, 5, 5]
    assert computed(uneven, 3, [1, 0.2]).tolist() == [0, 5, 6, 7]


def test_jitter_has_its_mean_and_scatter() -> None:
    times = Pace([1.0, 0.5], 0.3).times(40_000, np.random.default_rng(1))
    np.testing.assert_allclose(times.mean(0), [1, 2], rtol=0.01)
    np.testing.assert_allclose(times.std(0) / times.mean(0), 0.3, rtol=0.02)
    assert (times > 0).all()


@pytest.mark.parametrize("workers", [2, 16])
def test_fewer_rounds_wait_less_for_the_slowest(workers: int) -> None:
    """The mean of the largest of N sums of I gamma times, by another way of drawing them."""
    for interval in (1, 8):
        rounds = [
            Averaging(t, workers, [interval] * workers) for t in range(interval, 4001, interval)
        ]
        found = computed(rounds, 4000, [1.0] * workers, 0.5)[-1] / 4000
        sums = np.random.default_rng(2).gamma(4 * interval, 0.25, (20_000, workers))
        assert found == pytest.approx(sums.max(1).mean() / interval, rel=0.02)


def test_jitter_is_drawn_from_the_seed(tmp_path: Path) -> None:
    seeds = [
        fixture_run(tmp_path, workers=2, algorithm=part("prsgd", interval=2), seed=seed)
        for seed in (0, 1)
    ]
    runs = [Replayed(run) for run in load(tmp_path)[0]]
    scattered = Network(0.0, np.inf, jitter=0.4)
    first, second = (run.seconds(scattered) for run in runs)
    assert len(seeds) == 2
    assert first.tolist() == Replayed(runs[0].run).seconds(scattered).tolist()
    assert first.tolist() != second.tolist()
    assert (first[1:] > runs[0].seconds(Network(0.0, np.inf))[1:]).all()


def test_who_was_idle_fetches_the_model_first(tmp_path: Path) -> None:
    """Of four workers two take part: rounds of 400 bytes, and 400 for each newcomer."""
    keys = {"workers": 4, "participation": 0.5}
    algorithm = part("prsgd", interval=2, participation=0.5)
    path = fixture_run(tmp_path, algorithm=algorithm, **keys)
    rounds = pd.read_csv(path / "rounds.csv")
    rounds["local_steps"] = ["2 2 0 0", "2 0 2 0", "2 0 2 0", "0 2 0 2", "0 2 0 2"] * 10
    rounds["download_bytes"] = ([200.0, 200, 0, 400, 0] * 10)[: len(rounds)]
    rounds.loc[0, "download_bytes"] = 0.0
    rounds.to_csv(path / "rounds.csv", index=False)
    own = only(tmp_path)
    computing = 100 * own.step_seconds
    found = own.seconds(Network(0.001, 1000.0))[-1]
    assert own.fetched.tolist()[:5] == [0, 400, 0, 400, 0]
    round_, fetch = 2 * 0.001 + 400 / 1000, 0.001 + 400 / 1000
    assert found == pytest.approx(computing + 50 * round_ + 29 * fetch)
    together = own.seconds(Network(0.001, 1000.0, processes=1))[-1]
    assert together == pytest.approx(2 * computing)


def test_figures_say_how_step_times_scatter(tmp_path: Path) -> None:
    for interval in (2, 8):
        fixture_run(tmp_path / "r", workers=2, algorithm=part("prsgd", interval=interval))
    out = [str(tmp_path / "r"), "--out", str(tmp_path / "out")]
    assert main([*out, "--bandwidth-mbit=100", "--jitter=0.25"]) == 0
    assert "step times that scatter by 25%" in texts(tmp_path, "network")
    with pytest.raises(UserError) as caught:
        main([*out, "--jitter=-1"])
    assert str(caught.value) == "jitter=-1.0: must be a number above 0"
