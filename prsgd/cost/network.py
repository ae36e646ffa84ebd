"""Seconds of communication by the ring model. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from prsgd.distributed.compression import Compression
from prsgd.distributed.placement import groups_of, hosts

MBIT = 1e6 / 8  # bytes


@dataclass(frozen=True)
class Network:
    """The links of processes, each of which hosts as many workers."""

    latency: float  # seconds of a message
    bandwidth: float | None = None  # bytes per second that one process sends; None: not known
    group_bandwidth: float | None = None  # within groups of workers, where it is another
    processes: int | None = None  # P; one for each worker unless it is said
    jitter: float = 0.0  # standard deviation of a step's time, as a share of its mean


@dataclass(frozen=True)
class Costs:
    """What communication is predicted from; times are in seconds."""

    step: float  # a local step of all the workers that a process hosts
    round: float  # an averaging of all workers
    group: float = 0.0  # an averaging within groups of workers
    averagings: float = 0.0  # of both kinds in a step, a number; 0 without groups


@dataclass(frozen=True)
class Prediction:
    """Training with one interval, as the model has it."""

    interval: int
    seconds: float  # of a step of all workers, communication included
    share: float  # of communication in these seconds
    units_per_second: float  # of data, drawn by all workers together


def ring_seconds(payload: float, processes: int, latency: float, bandwidth: float) -> float:
    """A ring all-reduce of `payload` bytes between P processes: 2(P-1)α + 2 (P-1)/P · M/B.

    `latency` α in seconds, `bandwidth` B in bytes per second.
    """
    hops = 2 * (processes - 1)
    return hops * latency + hops / processes * payload / bandwidth


def round_seconds(
    compression: Compression, payload: int, processes: int, hosted: int, links: Network
) -> float:
    """A round of workers who hand over `payload` bytes each; a process hosts `hosted` at most.

    `links` must say the bandwidth. One process sends nothing.
    """
    assert links.bandwidth is not None
    sent = compression.wire_bytes(payload, processes, hosted)
    return compression.hops(processes) * links.latency + sent / links.bandwidth


def averaging_seconds(
    payload: float, size: int, placed: list[range], latency: float, bandwidth: float
) -> float:
    """An averaging within groups of `size` workers, which processes host as `placed`.

    A process takes part in its groups one after another; one that it hosts alone costs nothing.
    """
    busy_until = [0.0] * len(placed)
    for group in groups_of(placed[-1].stop, size):
        ranks = hosts(group, placed)
        start = max(busy_until[rank] for rank in ranks)
        for rank in ranks:
            busy_until[rank] = start + ring_seconds(payload, len(ranks), latency, bandwidth)
    return max(busy_until)


def ring_constants(
    payload: float, processes: int, empty: float, full: float
) -> tuple[float, float]:
    """(α, B) of `ring_seconds` from the seconds of an all-reduce of nothing and of `payload`."""
    hops = 2 * (processes - 1)
    return empty / hops, hops / processes * payload / max(full - empty, 1e-9)


def predict(costs: Costs, interval: int, units: float) -> Prediction:
    """`units` of data are drawn by all workers together in a step: a step costs t_c + T_round / I.

    An averaging of all workers takes the place of one within groups, if there are any.
    """
    in_groups = max(0.0, costs.averagings - 1 / interval)
    sending = costs.round / interval + costs.group * in_groups
    seconds = costs.step + sending
    return Prediction(interval, seconds, sending / seconds, units / seconds)
