"""How long the rounds took, compared between the processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prsgd.distributed.communicator import Communicator
from prsgd.distributed.ledger import Ledger, Round
from prsgd.distributed.placement import groups_of, hosts


def close_rounds(ledger: Ledger, communicator: Communicator) -> list[dict[str, Any]]:
    """Count the ledger's open rounds, and return them as rows of rounds.csv.

    The seconds of a round are those of the last process to arrive, which waits for nobody; what
    the others took longer is waiting.
    """
    rounds, ledger.open = ledger.open, []
    if not rounds:
        return []
    times = torch.zeros(communicator.processes, len(rounds))
    times[communicator.rank] = torch.tensor([r.watch.seconds for r in rounds])
    times = communicator.all_reduce_sum(times)
    nothing = torch.zeros(len(communicator.local_workers), device=communicator.device)
    drifts = torch.stack([nothing if r.drifts is None else r.drifts for r in rounds], 1)
    drift = communicator.gather_workers(drifts).mean(0)
    rows = []
    for place, r in enumerate(rounds):
        seconds = _of_the_last(r, times[:, place], communicator)
        waiting = float((times[:, place] - seconds).clamp(min=0).sum()) / communicator.processes
        ledger.close(r, seconds, waiting)
        rows.append(
            {
                "step": r.step,
                "group": r.group or communicator.workers,
                "local_steps": r.local_steps,
                "drift": float(drift[place]),
                "payload_bytes": r.payload_bytes,
                "download_bytes": r.download_bytes,
                "seconds": seconds,
            }
        )
    return rows


def _of_the_last(round: Round, times: Tensor, communicator: Communicator) -> float:
    """The seconds of the last to arrive; of several groups, those of the slowest one."""
    groups = groups_of(communicator.workers, round.group or communicator.workers)
    return max(float(times[hosts(group, communicator.placed)].min()) for group in groups)
