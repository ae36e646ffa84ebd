"""What the algorithm has communicated: one record per round, and their sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from prsgd.distributed.burst import Burst
from prsgd.distributed.communicator import Mean
from prsgd.distributed.pending import Arriving, Stopwatch


@dataclass(frozen=True)
class Round:
    """One averaging as one process saw it: of all workers, or within groups of them."""

    step: int
    group: int | None  # workers in a group; None for all
    payload_bytes: int  # bytes that one worker handed over
    watch: Stopwatch  # of the all-reduces, waiting for other processes included
    control: Arriving | None  # (2,), summed over all processes; None for groups
    drifts: Tensor | None  # (K,), |x_i - mean|^2 before it; None where no x_i was averaged
    local_steps: list[int]  # steps of each of the N workers since the last round
    delay: int = 0  # steps after which its mean is used
    download_bytes: int = 0  # fetched by workers that were idle, mean over those taking part

    @staticmethod
    def of(
        found: Mean,
        step: int,
        drifts: Tensor | None,
        local_steps: list[int],
        group: int | None = None,
        delay: int = 0,
        download_bytes: int = 0,
    ) -> Round:
        """The round that brought this mean."""
        control = None if found.control is None else Arriving(found.control)
        sent = found.payload_bytes, found.watch
        return Round(step, group, *sent, control, drifts, local_steps, delay, download_bytes)


@dataclass
class Ledger:
    """What the algorithm has communicated so far; the sums are the same on every process.

    What stays within groups of workers is counted apart, as it goes over other links.
    """

    rounds: int = 0
    payload_bytes: int = 0
    download_bytes: int = 0
    group_rounds: int = 0
    group_payload_bytes: int = 0
    comm_seconds: float = 0.0  # all-reduces, as the last process to arrive sees them
    wait_seconds: float = 0.0  # waiting for that process, mean over processes
    burst: Burst = field(default_factory=Burst)  # of what is sent between all
    open: list[Round] = field(default_factory=list)  # rounds not counted yet

    @property
    def count(self) -> int:
        """Rounds of all workers so far, open or closed."""
        return self.rounds + sum(r.group is None for r in self.open)

    def append(self, round: Round) -> None:
        self.open.append(round)

    def control_of(self, step: int) -> Arriving | None:
        """What all processes said in the last round of all workers in `step`; None without one."""
        for round in reversed(self.open):
            if round.step != step:
                break
            if round.group is None:
                return round.control
        return None

    def close(self, round: Round, comm_seconds: float, wait_seconds: float) -> None:
        """Count a round, once the processes have compared how long it took them."""
        if round.group is None:
            self.rounds += 1
            self.payload_bytes += round.payload_bytes
            self.download_bytes += round.download_bytes
            self.burst.add(round.step, round.payload_bytes, round.delay)
        else:
            self.group_rounds += 1
            self.group_payload_bytes += round.payload_bytes
        self.comm_seconds += comm_seconds
        self.wait_seconds += wait_seconds

    def sums(self) -> dict[str, Any]:
        """The counters without the open rounds, as a checkpoint keeps them."""
        sums = {name: value for name, value in vars(self).items() if name != "open"}
        return {**sums, "burst": asdict(self.burst)}

    @staticmethod
    def of(sums: Mapping[str, Any]) -> Ledger:
        """The ledger that `sums` are of; those of older checkpoints have no burst."""
        return Ledger(**{**sums, "burst": Burst(**sums.get("burst", {}))})
