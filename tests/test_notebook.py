"""The notebook runs from its first cell to its last, and shows what it says."""

from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "scripts" / "tour.ipynb"


@pytest.mark.tools
@pytest.mark.timeout(900)
def test_the_tour(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    tour: Any = nbformat.read(NOTEBOOK, 4)
    assert len(tour.cells) <= 15
    NotebookClient(tour, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        "".join(out.get("text", "") or str(out["data"]) for out in cell.get("outputs", []))
        for cell in tour.cells
    ]
    assert not any("\x1b" in text for text in shown), "lines, and nothing that a terminal obeys"
    assert "epoch 5.981/6" in shown[3]
    assert "Result(done, training loss" in shown[3]
    assert "consensus_train_loss" in shown[4]
    assert "is done (test accuracy" in shown[6], "I = 8 is there already"
    assert "image/png" in shown[7]
    assert "training here, with P = 1" in shown[10]
    assert 0.9 < float(shown[11].split("np.float64(")[1].split(")")[0]) <= 1
    assert len(list((tmp_path / "runs").glob("*-N4-*"))) == 4
