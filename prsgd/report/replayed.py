"""Runs as they would be on another network: their time, from their records alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from prsgd.algorithms.participation import taking_part
from prsgd.config.registry import class_named
from prsgd.cost.clocks import Averaging, Pace, clocks
from prsgd.cost.network import Network, round_seconds
from prsgd.cost.replay import Transfer, replay
from prsgd.distributed.compression import Compression
from prsgd.errors import UserError
from prsgd.report.curves import Curve, Group
from prsgd.report.runs import RunRecord
from prsgd.rng import Purpose, generator

SECONDS = "train_seconds"


class Replayed:
    """A run whose rounds can be sent over any network. A device hosts one worker, unless the
    network says how many processes there are. Its bandwidth must be known."""

    def __init__(self, run: RunRecord) -> None:
        """A `UserError` where its records do not say what that takes."""
        self.run = run
        self.workers: int = run.config["workers"]
        share = run.config.get("algorithm.participation", 1.0)
        self.taking_part = taking_part(share, self.workers)
        self.delay = int(run.config.get("algorithm.delay", 0))
        self.compression = compression_of(run)
        self.step_seconds = step_seconds(run)
        self.local_steps = local_steps(run)
        self._transfer = cache(self.transfer_seconds)
        self._clock = cache(self.clock)

    def seconds(self, network: Network) -> Any:
        """When each row of metrics.csv would be due. Evaluation takes no time."""
        clock = self._clock(network.processes or self.workers, network.jitter)
        stalls = replay(self.transfers(clock, network), clock[-1])
        return np.array([stalls.time(clock[t]) for t in self.run.metrics["step"]])

    def clock(self, processes: int, jitter: float) -> Any:
        """(T + 1,): seconds of computing until each step is done."""
        rounds = self.run.rounds
        columns = rounds["step"], rounds["group"], self.local_steps
        averagings = [Averaging(*row) for row in zip(*columns, strict=True)]
        pace = Pace(self.run.config["speeds"] or [1.0] * self.workers, jitter)
        steps, draws = int(self.run.metrics["step"].iloc[-1]), self.run.config["seed"]
        ends = clocks(
            averagings, steps, self.delay, processes, pace, generator(Purpose.JITTER, draws)
        )
        return self.step_seconds * ends

    def transfers(self, clock: Any, network: Network) -> Iterator[Transfer]:
        """What is sent, in order: before a round, what those fetch who were idle in the last."""
        rounds, last, before = self.run.rounds, len(clock) - 1, 0
        columns = rounds["step"], rounds["payload_bytes"], rounds["group"], self.fetched
        for t, payload, group, fetched in zip(*columns, strict=True):
            if fetched and network.processes != 1:
                assert network.bandwidth is not None
                seconds = network.latency + fetched / network.bandwidth
                yield Transfer(clock[before], clock[before], seconds)
            due = clock[min(t + self.delay, last)]
            yield Transfer(clock[t], due, self._transfer(payload, group, network))
            before = t

    @cached_property
    def fetched(self) -> Any:
        """Before each round, the bytes of a worker that was idle in the last one; 0 without one."""
        if "download_bytes" not in self.run.rounds:
            return np.zeros(len(self.run.rounds))
        takes_part = np.array(self.local_steps) > 0
        newcomers = (takes_part[1:] & ~takes_part[:-1]).sum(1)
        together = self.taking_part * self.run.rounds["download_bytes"].to_numpy()
        return together / np.maximum(1, [0, *newcomers])

    def hosted(self, network: Network) -> int:
        """Workers of the busiest process, of those that take part."""
        return -(-self.taking_part // (network.processes or self.taking_part))

    def transfer_seconds(self, payload: int, group: int, network: Network) -> float:
        """Seconds of a round among `group` workers, of whom each hands over `payload` bytes."""
        hosted = min(group, self.hosted(network))
        among = min(int(group), self.taking_part)
        processes = min(among, network.processes or among)
        if group < self.workers:
            processes = -(-among // hosted)
            network = replace(network, bandwidth=network.group_bandwidth or network.bandwidth)
        return round_seconds(self.compression, int(payload), processes, int(hosted), network)


def compression_of(run: RunRecord) -> Compression:
    """What a run's messages are; a `UserError` for one of a plugin."""
    name = run.config["compression"]
    cls = class_named("compression", name)
    if cls is None:
        raise UserError(f"compression={name}: only prsgd's own can be sent over another network")
    keys = {key: v for key, v in run.config.items() if key.startswith("compression.")}
    found: Compression = cls(**{key.partition(".")[2]: value for key, value in keys.items()})
    return found


def step_seconds(run: RunRecord) -> float:
    """Of one worker's step alone on a device: what the busiest process computed, by its workers."""
    if run.processes is None:
        raise UserError(f"{run.path}: its environment.json does not say how many processes it had")
    last, workers = run.metrics.iloc[-1], run.config["workers"]
    busy = last[SECONDS] - last["comm_seconds"] - last.get("wait_seconds", 0.0)
    hosted = -(-workers // run.processes)
    return float(busy / (last["step"] * hosted * _share_of_active(run)))


def local_steps(run: RunRecord) -> list[list[int]]:
    """Of each of the N workers, for each round; a record has one for all where they are equal."""
    steps = [[*map(int, text.split())] for text in run.rounds["local_steps"].map(str)]
    return [own * run.config["workers"] if len(own) == 1 else own for own in steps]


def _share_of_active(run: RunRecord) -> float:
    """Of all workers those that compute in a step, on average."""
    steps = [np.array(of_round) for of_round in local_steps(run)]
    most = sum(of_round.max() for of_round in steps)
    return float(sum(of_round.mean() for of_round in steps) / most) if most else 1.0


def on_network(group: Group, network: Network) -> Group:
    """The group with the time that each run would take on that network."""
    return replace(group, curves=[curve_on(curve, network) for curve in group.curves])


def curve_on(curve: Curve, network: Network) -> Curve:
    """The curve with the time that its runs would take on that network."""
    moved = [
        replace(run, metrics=run.metrics.assign(**{SECONDS: Replayed(run).seconds(network)}))
        for run in curve.runs
    ]
    return Curve(moved, curve.label, curve.search)


def refusal(group: Group) -> str:
    """Why a group cannot be drawn for another network; empty if it can."""
    try:
        for curve in group.curves:
            for run in curve.runs:
                Replayed(run)
    except UserError as error:
        return str(error)
    return ""
