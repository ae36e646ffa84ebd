"""Runs as they would be on another network: their time, from their records alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from prsgd.config.registry import class_named
from prsgd.cost.network import Network, round_seconds
from prsgd.cost.replay import Transfer, replay
from prsgd.distributed.compression import Compression
from prsgd.errors import UserError
from prsgd.report.curves import Curve, Group
from prsgd.report.runs import RunRecord

SECONDS = "train_seconds"


class Replayed:
    """A run whose rounds can be sent over any network. A device hosts one worker, unless the
    network says how many processes there are. Its bandwidth must be known."""

    def __init__(self, run: RunRecord) -> None:
        """A `UserError` where its records do not say what that takes."""
        self.run = run
        self.workers: int = run.config["workers"]
        self.delay = int(run.config.get("algorithm.delay", 0))
        self.compression = compression_of(run)
        self.step_seconds = step_seconds(run)
        self._transfer = cache(self.transfer_seconds)

    def seconds(self, network: Network) -> Any:
        """When each row of metrics.csv would be due. Evaluation takes no time."""
        step, rounds = self.step_seconds * self.hosted(network), self.run.rounds
        columns = (rounds[name] for name in ("virtual_time", "payload_bytes", "group"))
        transfers = [
            Transfer(step * t, step * (t + self.delay), self._transfer(payload, group, network))
            for t, payload, group in zip(*columns, strict=True)
        ]
        clock = step * self.run.metrics["virtual_time"]
        stalls = replay(transfers, float(clock.iloc[-1]))
        return np.array([stalls.time(computed) for computed in clock])

    def hosted(self, network: Network) -> int:
        """Workers of the busiest process."""
        return -(-self.workers // (network.processes or self.workers))

    def transfer_seconds(self, payload: int, group: int, network: Network) -> float:
        """Seconds of a round among `group` workers, of whom each hands over `payload` bytes."""
        hosted = min(group, self.hosted(network))
        if group < self.workers and network.group_bandwidth is not None:
            network = replace(network, bandwidth=network.group_bandwidth)
        return round_seconds(self.compression, int(payload), int(group), int(hosted), network)


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


def _share_of_active(run: RunRecord) -> float:
    """Of all workers those that compute in a step, on average."""
    steps = [np.array(text.split(), float) for text in run.rounds["local_steps"].map(str)]
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
