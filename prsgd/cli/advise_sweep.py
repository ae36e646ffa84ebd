"""`prsgd advise --from SWEEP`: which finished runs reach a loss first on a network."""

from __future__ import annotations

import argparse
from math import isnan
from typing import TYPE_CHECKING

from prsgd.errors import UserError

if TYPE_CHECKING:
    from prsgd.cost.first import Reached
    from prsgd.cost.network import Network
    from prsgd.report.curves import Curve, Group

NOT_HERE = ("calibrate", "step_ms", "share", "overrides", "config_dir")


def advise_from_sweep(options: argparse.Namespace) -> int:
    """Print a table and a sentence for each group of comparable curves under a folder."""
    from prsgd.console import say
    from prsgd.report.asked import tuned
    from prsgd.report.attempts import attempts
    from prsgd.report.curves import groups
    from prsgd.report.declared import OF_NETWORK, asked_network
    from prsgd.report.runs import load

    if any(getattr(options, name) for name in NOT_HERE):
        raise UserError(
            "--from SWEEP: takes only --loss, --latency-ms, --bandwidth-mbit, "
            "--group-bandwidth-mbit, --processes and --jitter"
        )
    network = asked_network({name: getattr(options, name) for name in OF_NETWORK})
    if network is None or network.bandwidth is None:
        raise UserError("--from SWEEP: needs --bandwidth-mbit, for which network to advise")
    runs, left_out = load(options.folder)
    if not runs:
        raise UserError(f"{options.folder}: there is no finished run in it")
    for path, why in left_out:
        say(f"left out: {path} ({why})")
    for group in tuned(groups(runs), attempts(path for path, _ in left_out)):
        advise_group(group, network, options.loss)
    return 0


def advise_group(group: Group, network: Network, loss: float | None) -> None:
    """The curves of one group, the first on top."""
    from rich import box
    from rich.table import Table

    from prsgd.console import cells, duration, say, show
    from prsgd.cost.first import ranked, verdict
    from prsgd.report.bandwidth import said
    from prsgd.report.replayed import refusal
    from prsgd.report.tables import common_target

    if why := refusal(group):
        say(f"{group.title}: {why}")
        return
    target = common_target(group) if loss is None else loss
    reached = [reach(curve, network, target) for curve in group.curves]
    say(f"{group.caption}, {said(network)}: time to the training loss {target:.4g}")
    table = Table("run", "seeds", "time", "from .. to", "sent", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, curve in enumerate(ranked(reached)):
        finite = [s for s in curve.seconds if not isnan(s)]
        is_sure = curve.mean < float("inf")
        times = [duration(t) for t in (min(finite), max(finite))] if len(finite) > 1 else []
        row = [
            curve.label,
            f"{curve.many} of {len(curve.seconds)}",
            duration(curve.mean) if is_sure else "not reached",
            " .. ".join(times),
            f"{curve.megabytes:,.4g} MB" if is_sure else "",
        ]
        table.add_row(*cells(row), style="bold" if is_sure and place == 0 else "")
    show(table)
    say(verdict(reached, float(f"{target:.4g}")))


def reach(curve: Curve, network: Network, loss: float) -> Reached:
    """When the runs of a curve come to a training loss."""
    from prsgd.cost.first import Reached
    from prsgd.report.replayed import SECONDS, curve_on
    from prsgd.report.tables import at_target

    there = curve_on(curve, network)
    seconds = [at_target(run.metrics, SECONDS, loss) for run in there.runs]
    return Reached(curve.label, seconds, at_target(there.mean, "payload_bytes", loss) / 1e6)
