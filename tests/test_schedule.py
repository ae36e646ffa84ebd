"""The learning rate as a function of t."""

import math

import pytest

from prsgd.schedule import Constant, Cosine, StepDrops


def rates(schedule, steps: int = 8, lr: float = 2.0) -> list[float]:
    return [schedule.lr(t, steps, lr) for t in range(1, steps + 1)]


def test_constant() -> None:
    assert rates(Constant()) == [2.0] * 8


def test_drops_at_fractions() -> None:
    assert rates(StepDrops()) == pytest.approx([2.0] * 4 + [0.2] * 2 + [0.02] * 2)
    assert rates(StepDrops(at=[0.25], factor=0.5)) == [2.0] * 2 + [1.0] * 6


def test_cosine_goes_from_all_to_nothing() -> None:
    values = rates(Cosine(), steps=100)
    assert values[0] == 2.0
    assert values[50] == pytest.approx(1.0)
    assert 0 < values[-1] < 0.001
    assert values == sorted(values, reverse=True)
    assert values[20] == pytest.approx(1 + math.cos(0.2 * math.pi))


def test_warm_up_rises_linearly() -> None:
    assert rates(Constant(warmup=0.5)) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]
