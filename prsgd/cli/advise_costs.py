"""What a step and an averaging cost in a run that is planned or done."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prsgd.cli.run import moved
from prsgd.errors import UserError

if TYPE_CHECKING:
    from prsgd.config.plan import Plan
    from prsgd.config.schema import Run
    from prsgd.cost.counter import CommCounter
    from prsgd.cost.network import Costs


@dataclass(frozen=True)
class Situation:
    """A run that is planned or done, and where its costs come from."""

    run: Run
    processes: int
    costs: Costs
    source: str
    in_groups: str = ""  # what is sent within groups of workers, for the screen


def refuse(run: Run) -> None:
    """A UserError for a run in which not all workers take part, or means travel meanwhile."""
    if run.participation < 1:
        raise UserError(
            f"participation={run.participation}: advice is for rounds of all workers; "
            "--from SWEEP compares finished runs"
        )
    if run.delay:
        raise UserError(
            f"delay={run.delay}: advice does not know what a delay hides; leave it out, or compare "
            "finished runs with --from SWEEP"
        )


def finished(
    options: argparse.Namespace, trusted: list[str], places: Mapping[str, str]
) -> Situation:
    """The costs that a run measured; waiting for stragglers belongs to its step."""
    import numpy as np
    import pandas as pd

    from prsgd.config.build import build_run
    from prsgd.cost.network import Costs
    from prsgd.run_folder import RunFolder

    folder = options.folder
    if options.step_ms or (options.latency_ms and not options.bandwidth_mbit):
        raise UserError(
            "--from: the run folder has the costs; only those of another network fit, "
            "--bandwidth-mbit and --latency-ms"
        )
    records = RunFolder(folder)
    run = build_run(moved(records, places), trusted)
    refuse(run)
    if options.bandwidth_mbit:
        return elsewhere(run, options)
    last, processes = records.last_metrics(), records.environment().get("processes")
    try:
        table = pd.read_csv(folder / "rounds.csv")
        of_all = table["group"] == run.workers
        rounds, in_groups = table.loc[of_all, "seconds"], table.loc[~of_all]
        group_seconds, payload = in_groups["seconds"].sum(), in_groups["payload_bytes"].sum()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: its rounds.csv cannot be read ({error})") from error
    if not last or not last["step"] or processes is None or rounds.empty:
        raise UserError(
            f"{folder}: it has not averaged yet; give a run that has trained for longer"
        )
    step = (last["train_seconds"] - last["comm_seconds"]) / last["step"]
    models = np.arange(len(rounds)) // run.fragments  # a row is a fragment's
    costs, words = Costs(step, float(rounds.groupby(models).sum().median())), ""
    if count := len(in_groups):
        costs = replace(costs, group=group_seconds / count, averagings=len(table) / last["step"])
        words = within_groups(count / last["step"], payload / count, costs)
    return Situation(run, int(processes), costs, f"from {folder}", words)


def elsewhere(run: Run, options: argparse.Namespace) -> Situation:
    """The costs of a finished run on another network, from its records."""
    from prsgd.cost.network import Costs
    from prsgd.report.bandwidth import said
    from prsgd.report.declared import OF_NETWORK, asked_network
    from prsgd.report.replayed import Replayed
    from prsgd.report.runs import load_run

    record = load_run(options.folder)
    own, rounds = Replayed(record), record.rounds_of_all
    if len(rounds) < len(record.rounds):
        raise UserError(
            f"{options.folder}: averages within groups; give --from the folder above it, "
            "which compares such runs"
        )
    network = asked_network({name: getattr(options, name) for name in OF_NETWORK})
    assert network is not None
    processes = network.processes or run.workers
    first = rounds["payload_bytes"][: run.fragments]  # one of each fragment
    averaging = sum(own.transfer_seconds(size, run.workers, network) for size in first)
    costs = Costs(own.step_seconds * own.hosted(network), averaging)
    return Situation(run, processes, costs, f"from {options.folder}, {said(network)}")


def within_groups(rounds: float, payload: float, costs: Costs) -> str:
    """Averagings within groups: their number in a step, and the bytes and time of one."""
    from prsgd.console import amount

    return (
        f", one within groups {1000 * costs.group:.4g} ms, {amount(payload)}, {rounds:.3g} a step"
    )


STEP, LATENCY, BANDWIDTH = "--step-ms", "--latency-ms", "--bandwidth-mbit"


def planned(run: Run, options: argparse.Namespace) -> Situation:
    """The costs that were given and, for the rest, those that are measured here."""
    import os

    from prsgd.config.plan import decide
    from prsgd.cost.estimate import communication
    from prsgd.launch.own_model import parameter_sizes
    from prsgd.training.machine import this_machine

    refuse(run)
    plan = decide(run, this_machine(), os.environ)
    [sizes] = parameter_sizes([(run, plan)])
    processes = plan.processes
    if not options.calibrate:
        processes = run.workers if run.processes == "auto" else run.processes
    known = given(options, processes)
    needed = [STEP, LATENCY, BANDWIDTH] if processes > 1 else [STEP]
    missing = [name for name in needed if name not in known]
    if missing and not options.calibrate:
        raise UserError(f"{missing[0]} is not known: give it, or --calibrate, or --from RUN_DIR")
    samples = run.samples()
    sent, steps = communication(in_one_piece(run), samples, sizes), run.steps(samples)
    if missing:
        known = measured(run, plan, sent) | known
    costs, words = on_network(run, processes, sent, steps, known)
    source = "measured here" if missing == needed else "partly measured here"
    return Situation(run, processes, costs, source if missing else "as given", words)


def in_one_piece(run: Run) -> Run:
    """The run without fragments, which send the same in more rounds."""
    if run.fragments == 1:
        return run
    whole: Any = replace(run.algorithm, fragments=1)  # type: ignore[call-arg]
    return replace(run, fragments=1, algorithm=whole)


def on_network(
    run: Run, processes: int, sent: CommCounter, steps: int, known: dict[str, float]
) -> tuple[Costs, str]:
    """The costs of a run by those of a step and of the network, and words for groups."""
    from prsgd.cost.network import Costs, Network, averaging_seconds, round_seconds
    from prsgd.distributed.placement import placement
    from prsgd.distributed.wire import COLLECTIVES

    placed = placement(run.workers, processes)
    latency, bandwidth = known.get(LATENCY, 0.0), known.get(BANDWIDTH, math.inf)
    of_sums = latency * COLLECTIVES[run.reduction]

    def seconds(payload: float, size: int) -> float:
        return averaging_seconds(payload, size, placed, of_sums, bandwidth)

    links = Network(of_sums if run.compression.is_summed else latency, bandwidth)
    hosted = -(-run.workers // processes)
    payload = sent.payload_bytes // sent.rounds
    averaging = round_seconds(run.compression, payload, processes, hosted, links)
    further_hops = (run.fragments - 1) * run.compression.hops(processes)
    costs = Costs(known[STEP], averaging + further_hops * links.latency)
    count = sent.group_rounds
    if not count:
        return costs, ""
    payload = sent.group_payload_bytes // count
    in_groups = sum(rounds * seconds(payload, size) for size, rounds in sent.groups.items())
    costs = replace(costs, group=in_groups / count, averagings=(count + sent.rounds) / steps)
    return costs, within_groups(count / steps, payload, costs)


def given(options: argparse.Namespace, processes: int) -> dict[str, float]:
    """The costs on the command line: a step and the latency in s, the bandwidth in bytes/s."""
    from prsgd.cost.network import MBIT

    costs = {
        STEP: (options.step_ms, 1e-3),
        LATENCY: (options.latency_ms, 1e-3),
        BANDWIDTH: (options.bandwidth_mbit, MBIT),
    }
    found = {name: value * unit for name, (value, unit) in costs.items() if value is not None}
    if processes == 1 and {LATENCY, BANDWIDTH} & {*found}:
        raise UserError("one process hosts all the workers and sends nothing; give processes=P")
    return found


def measured(run: Run, plan: Plan, sent: CommCounter) -> dict[str, float]:
    """The same costs, measured here."""
    from prsgd.cost.network import ring_constants
    from prsgd.distributed.wire import BYTES_PER_NUMBER
    from prsgd.launch.calibrate import calibrate

    found = calibrate(run, plan)
    steps = run.steps(run.samples())
    computing = run.samples_per_step(steps) / (run.workers * run.batch_size)
    costs = {STEP: computing * found.step}
    if plan.processes > 1:
        plain = BYTES_PER_NUMBER[run.reduction] * sent.size  # what was sent here is not coded
        alpha, speed = ring_constants(plain, plan.processes, found.empty, found.full)
        costs |= {LATENCY: alpha, BANDWIDTH: speed}
    return costs
