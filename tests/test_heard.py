"""When a run acts on what its processes tell each other."""

from __future__ import annotations

import pytest
import torch
from conftest import Trainer, numbers, part, small_run

from prsgd.training.gradients import Loop


@pytest.mark.parametrize(
    ("interval", "asked", "stopped"),
    [
        (1, 3, 4),
        (4, 6, 12),  # said in the round of step 8, and read in the next
        (4, 17, 20),  # a row is read at once
        (40, 3, 16),  # and so is what is said where there was no round for long
    ],
)
def test_a_signal_stops_a_run_a_round_later(
    train_here: Trainer, interval: int, asked: int, stopped: int
) -> None:
    """N = 2, 20 steps an epoch; `asked` before this step."""
    steps = iter(range(1, 100))
    run = small_run(algorithm=part("prsgd", interval=interval))
    status, folder = train_here(run, stop=lambda: next(steps) >= asked)
    assert (status, folder.status()[1]) == ("interrupted", f"SIGINT at step {stopped}")
    assert train_here(run)[0] == "done"


def test_a_loss_that_is_not_finite_ends_a_run_a_round_later(
    train_here: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said where it was first heard of, and a last row where the run ended."""
    losses = iter(range(1, 100))
    backward = Loop.backward

    def break_in_step_5(own: Loop, *arguments: object) -> torch.Tensor:
        loss = backward(own, *arguments)
        return loss * torch.nan if next(losses) == 2 * 5 else loss

    monkeypatch.setattr(Loop, "backward", break_in_step_5)
    status, folder = train_here(small_run(algorithm=part("prsgd", interval=4)))
    assert (status, folder.status()[1]) == ("diverged", "the training loss is nan at step 8")
    assert numbers(folder)["step"].to_list() == [0, 12]
