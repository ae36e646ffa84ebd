"""The scripts that measure prsgd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scaling
from measure import train

FEW = ("data=synthetic", "data.size=8", "data.test=1", "model=mlp", "threads=1", "precision=fp32")


@pytest.mark.dist
def test_a_run_is_measured() -> None:
    """Two workers take 4 steps, and so 2 rounds."""
    keys = ("data.train=256", "epochs=1", "interval=2", "processes=2", "checkpoint_seconds=0")
    found = train(2, *FEW, *keys)
    assert found["images_per_second"] > 0
    assert found["peak_memory_mb"] > 0
    assert 0 <= found["waiting_seconds"] < 60
    assert 0 < found["round_seconds"] < 60


def test_every_part_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, and without those that start processes."""

    def once(action: Callable[[], object], count: int) -> float:
        action()
        return 1.0

    written: list[str] = []
    monkeypatch.setattr(scaling, "IMAGES", 256)
    monkeypatch.setattr(scaling, "median_ms", once)
    monkeypatch.setattr(scaling, "write", lambda name, frame, text: written.append(text))
    for name in ("seconds", "start_up", "bare_all_reduce", "between_two", "recovery"):
        monkeypatch.setattr(scaling, name, lambda *arguments: 1.0)
    scaling.parts(1)
    assert "| the drift alone | 1 | 100.00% |" in written[0]
