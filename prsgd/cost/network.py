"""Seconds of communication by the ring model. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Seconds of one local step of all the workers that a process hosts, and of an averaging."""

    step: float
    round: float


@dataclass(frozen=True)
class Prediction:
    """Training with one interval, as the model has it."""

    interval: int
    seconds: float  # of a step of all workers, communication included
    share: float  # of communication in these seconds
    images_per_second: float  # drawn by all workers together


def ring_seconds(payload: float, processes: int, latency: float, bandwidth: float) -> float:
    """A ring all-reduce of `payload` bytes between P processes: 2(P-1)α + 2 (P-1)/P · M/B.

    `latency` α in seconds, `bandwidth` B in bytes per second.
    """
    hops = 2 * (processes - 1)
    return hops * latency + hops / processes * payload / bandwidth


def ring_constants(
    payload: float, processes: int, empty: float, full: float
) -> tuple[float, float]:
    """(α, B) of `ring_seconds` from the seconds of an all-reduce of nothing and of `payload`."""
    hops = 2 * (processes - 1)
    return empty / hops, hops / processes * payload / max(full - empty, 1e-9)


def predict(costs: Costs, interval: int, images: float) -> Prediction:
    """`images` are drawn by all workers together in a step: a step costs t_c + T_round / I."""
    sending = costs.round / interval
    seconds = costs.step + sending
    return Prediction(interval, seconds, sending / seconds, images / seconds)
