"""How much has to move at once. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Burst:
    """The most bytes that a worker hands over in one step.

    What is sent in step t and used `delay` steps later moves evenly in between; what is waited for
    moves in step t.
    """

    largest: float = 0.0
    moving: list[list[float]] = field(default_factory=list)  # first step, last step, bytes in each

    def add(self, t: int, payload: int, delay: int) -> None:
        """A round of step t; they come in the order of their steps."""
        self.moving = [part for part in self.moving if part[1] >= t]
        self.moving.append([t + min(delay, 1), t + delay, payload / max(delay, 1)])
        for step, _, _ in self.moving:
            at_once = sum(size for first, last, size in self.moving if first <= step <= last)
            self.largest = max(self.largest, at_once)
