"""The wheel, installed beside nothing of ours, and the layers of the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wheel_trains_from_another_folder(tmp_path: Path, cache: Path) -> None:
    """As `pipx run` does it: a fresh venv with our wheel, in a folder of the user's. The
    dependencies are lent from this environment."""

    def run(*command: str | Path) -> str:
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path)
    run(*build, ROOT)  # the wheel is made from the source archive
    [archive] = tmp_path.glob("*.tar.gz")
    assert archive.stat().st_size < 3e6
    [wheel] = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "fresh")
    fresh = tmp_path / "fresh/bin"
    into = ("--python", str(fresh / "python"), "install", "--no-deps", "--quiet", str(wheel))
    run(sys.executable, "-m", "pip", *into)
    [site] = (tmp_path / "fresh").glob("lib/python*/site-packages")
    [lent] = {str(Path(m.__file__).parent.parent) for m in (pytest,)}
    (site / "lent.pth").write_text(lent)
    where = run(fresh / "python", "-c", "import prsgd; print(prsgd.__file__)")
    assert where.startswith(str(site))
    assert (site / "prsgd/conf/config.yaml").exists()
    assert (site / "hydra_plugins/prsgd_launcher.py").exists()
    assert not (site / "prsgd/hydra").exists()
    page = {path.name for path in (site / "prsgd/report/page").iterdir()}
    assert {"page.html", "page.css", "page.js", "panel.json"} <= page
    small = ["model=mlp", "data=synthetic", "data.size=8", "workers=2", "batch_size=8", "epochs=1"]
    assert "test accuracy" in run(fresh / "prsgd", "train", "-m", *small, "seed=0,1", "jobs=1")
    drawn = run(fresh / "prsgd", "figures")
    assert "epochs, rounds, bytes, time, ends, drift (png, svg, data as csv)" in drawn


@pytest.mark.slow
def test_a_checkout_sweeps_without_being_installed(tmp_path: Path, cache: Path) -> None:
    """The dependencies are lent; neither prsgd's metadata nor its plugin of Hydra's is there."""
    site = Path(pytest.__file__).parents[1]
    (tmp_path / "lent").mkdir()
    for path in site.iterdir():
        if not path.name.startswith(("prsgd", "hydra_plugins")):
            (tmp_path / "lent" / path.name).symlink_to(path)
    places = f"{tmp_path / 'lent'}:{ROOT}"
    small = [
        "model=mlp",
        "data=synthetic",
        "data.size=8",
        "data.train=160",
        "workers=2",
        "epochs=1",
    ]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "prsgd", "train", "-m", *small, "seed=0,1", "jobs=1"],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": places},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len([*(tmp_path / "runs").iterdir()]) == 2


def test_imports_run_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
