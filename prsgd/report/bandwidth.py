"""Figures of networks: curves against the time on one, and the time to a loss on all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from prsgd.cost.network import MBIT, Network
from prsgd.report.curves import Curve, Group
from prsgd.report.layout import layout
from prsgd.report.panels import legend_entries
from prsgd.report.progress import draw_progress
from prsgd.report.replayed import SECONDS, Replayed, on_network
from prsgd.report.scales import logarithmic
from prsgd.report.sheet import Sheet, finish
from prsgd.report.specs import Spec
from prsgd.report.tables import at_target, common_target

BANDWIDTHS = np.geomspace(1, 1e5, 61) * MBIT  # 1 Mbit/s to 100 Gbit/s
HEIGHT = 2.8  # inches
STRIP = 0.04  # of the height, where the fastest curve's colour is shown


def draw_network(group: Group, network: Network, look: Spec, sheet: Sheet) -> list[str]:
    """Draw `network`, if its bandwidth is known, and `bandwidth`; returns their names."""
    names = ["bandwidth"]
    if network.bandwidth is not None:
        note = ", ".join(filter(None, [group.note, said(network)]))
        there = on_network(replace(group, note=note), network)
        draw_progress(there, replace(look, x=SECONDS, shows_curves=True), sheet / "network")
        names.append("network")
    draw_bandwidth(group, network, replace(look, panels=""), sheet / "bandwidth")
    return names


def draw_bandwidth(group: Group, network: Network, look: Spec, sheet: Sheet) -> None:
    """Draw the seconds to the common loss against bandwidth, a line per curve."""
    target, mbit = common_target(group), BANDWIDTHS / MBIT
    times = times_to(target, group, network)
    fastest = regions(times)
    winners = [group.curves[row] for row, _, _ in fastest]
    drawn = layout(group, look, in_front=winners, may_part=False)
    figure, axes = plt.subplots(figsize=(sheet.inches, HEIGHT))
    for curve, seconds in zip(group.curves, times, strict=True):
        axes.plot(mbit, seconds, **{**drawn.look(curve), "marker": ""})
    axes.set(xlabel="bandwidth of a link (Mbit/s)", ylabel=f"time to loss {target:.4g} (s)")
    axes.set_xlim(mbit[0], mbit[-1])
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    for winner, (_, first, last) in zip(winners, fastest, strict=True):
        ends = _edge(mbit, first), _edge(mbit, last + 1)
        axes.axvspan(*ends, 1 - STRIP, 1, color=drawn.look(winner)["color"], linewidth=0)
        if last + 1 < len(mbit):
            axes.axvline(ends[1], color="#888888", linewidth=0.6)
    words = _in_words([(drawn.names[group.curves[row]], last) for row, _, last in fastest])
    text = f"Time to the training loss {target:.4g}: {group.caption}"
    text = f"{text}, {said(network, any_bandwidth=True)}. Fastest: {words}"
    columns = {curve.label: seconds for curve, seconds in zip(group.curves, times, strict=True)}
    data = pd.DataFrame({"bandwidth_mbit": mbit, **columns})
    finish(figure, legend_entries([axes], drawn), text, data, sheet)


def times_to(target: float, group: Group, network: Network) -> Any:
    """(curves, bandwidths): seconds to a training loss."""
    return np.array([_times(target, curve, network) for curve in group.curves])


def _times(target: float, curve: Curve, network: Network) -> list[float]:
    runs, found = [Replayed(run) for run in curve.runs], []
    for bandwidth in BANDWIDTHS:
        there = replace(network, bandwidth=float(bandwidth))
        seconds = pd.concat([pd.Series(run.seconds(there)) for run in runs])
        mean = curve.mean.assign(**{SECONDS: seconds.groupby(level=0).mean()})
        found.append(at_target(mean, SECONDS, target))
    return found


def regions(times: Any) -> list[tuple[int, int, int]]:
    """(curve, first and last bandwidth) where a curve is the fastest, slow networks first."""
    best = groupby(enumerate(times.argmin(0).tolist()), key=lambda pair: pair[1])
    found = [(curve, [place for place, _ in places]) for curve, places in best]
    return [(curve, places[0], places[-1]) for curve, places in found]


def said(network: Network, any_bandwidth: bool = False) -> str:
    """A network in words."""
    hosts = f"{network.processes} processes" if network.processes else "one worker a device"
    parts = [f"replayed with {hosts}", f"links of {1e3 * network.latency:.4g} ms"]
    if not any_bandwidth and network.bandwidth is not None:
        parts[1] += f" and {network.bandwidth / MBIT:g} Mbit/s"
    if network.group_bandwidth is not None:
        parts.append(f"{network.group_bandwidth / MBIT:g} Mbit/s within groups")
    if network.jitter:
        parts.append(f"step times that scatter by {network.jitter:.0%}")
    return ", ".join(parts)


def _edge(mbit: Any, place: int) -> float:
    """Where a region ends: half-way between two bandwidths."""
    if place in (0, len(mbit)):
        return float(mbit[min(place, len(mbit) - 1)])
    return float(np.sqrt(mbit[place - 1] * mbit[place]))


def _round(number: float) -> str:
    """Two digits, without an exponent."""
    return f"{float(f'{number:.2g}'):,g}"


def _in_words(fastest: list[tuple[str, int]]) -> str:
    *slower, (name, _) = fastest
    mbit = BANDWIDTHS / MBIT
    parts = [f"{own} up to {_round(_edge(mbit, last + 1))} Mbit/s" for own, last in slower]
    return "; ".join([*parts, f"{name} {'beyond' if slower else 'everywhere'}"])
