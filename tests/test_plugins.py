"""A method of a user's own, as the README shows it, and what may not be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Command

README = (Path(__file__).parents[1] / "README.md").read_text()
FAST = (
    *("model=mlp", "data=synthetic", "data.train=160", "data.size=8", "schedule=constant"),
    *("workers=2", "batch_size=4", "epochs=1", "interval=3"),
)


def example(name: str) -> str:
    """The block of the README that begins with a comment that names the file."""
    [text] = re.findall(rf"```\w+\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)
    return str(text)


@pytest.fixture
def their_folder(tmp_path: Path) -> Path:
    (tmp_path / "mine/algorithm").mkdir(parents=True)
    (tmp_path / "mymethods.py").write_text(example("mymethods.py"))
    (tmp_path / "mine/algorithm/gentle.yaml").write_text(example("mine/algorithm/gentle.yaml"))
    return tmp_path


COMMAND = ("train", "--config-dir", "mine", "plugins=[mymethods]", "algorithm=gentle")


def test_the_readme_shows_the_command() -> None:
    assert " ".join(("prsgd", *COMMAND)).replace(
        "plugins=[mymethods]", "'plugins=[mymethods]'"
    ) in (README.replace(" \\\n    ", " "))


@pytest.mark.dist
@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.faults), 2])
def test_a_method_of_ones_own(prsgd: Command, their_folder: Path, processes: int) -> None:
    """It trains, is skipped when done, and goes on only if its package is named again."""
    done = prsgd(*COMMAND, *FAST, f"processes={processes}")
    assert done.returncode == 0, done.stderr
    [folder] = (their_folder / "runs").glob("gentle-I3-N2-s0-*")
    rounds = (folder / "rounds.csv").read_text().splitlines()
    assert len(rounds) == 1 + 7  # 20 steps
    name = folder.relative_to(their_folder)
    assert "skipped" in prsgd("run", str(name), "plugins=[mymethods]").stdout
    refused = prsgd("run", str(name))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"prsgd: {name}/config.yaml: it runs code of the package mymethods: if you trust that, say "
        "plugins=[mymethods]\n"
    )
    drawn = prsgd("figures")
    assert drawn.returncode == 0
    assert "| mymethods.Gentle, I = 3 | 1 |" in drawn.stdout


def test_help_lists_it(prsgd: Command, their_folder: Path) -> None:
    assert "gentle" not in prsgd("algorithms").stdout
    assert "gentle" in prsgd("algorithms", "--config-dir", "mine").stdout


@pytest.mark.parametrize(
    ("code", "more", "message"),
    [
        (
            None,
            [],
            "algorithm._target_=mymethods.Gentle: must be a class of prsgd, or of a package ",
        ),
        (
            None,
            ["plugins=[mymethods,other]", "algorithm._target_=os.system"],
            "algorithm._target_=os.system: must be a class of prsgd, or of a package in plugins",
        ),
        (
            None,
            ["plugins=[mymethods]", "algorithm.pull=hard"],
            "algorithm.pull=hard: must be of type float",
        ),
        (
            "import nothing_like_it",
            ["plugins=[mymethods]"],
            "mymethods.Gentle cannot be imported (ModuleNotFoundError: No module named 'nothing_l",
        ),
        (
            "def broken(:",
            ["plugins=[mymethods]"],
            "mymethods.Gentle cannot be imported (SyntaxError: ",
        ),
        (
            "from prsgd.models import MLP as Gentle",
            ["plugins=[mymethods]"],
            "algorithm._target_=mymethods.Gentle: must be a class of prsgd, or of a package in ",
        ),
        (
            "from prsgd.algorithms import Rounds as R\nclass Gentle(R):\n    send = receive = None",
            ["plugins=[mymethods]", "~algorithm.pull"],
            "algorithm._target_=mymethods.Gentle: the class needs a name of letters, digits and _",
        ),
        (
            None,
            ["plugins=[my-methods]"],
            "plugins=['my-methods']: must be names of packages, as in [mine]",
        ),
    ],
)
def test_what_is_refused(
    prsgd: Command, their_folder: Path, code: str | None, more: list[str], message: str
) -> None:
    if code:
        (their_folder / "mymethods.py").write_text(code)
    refused = prsgd("train", "--config-dir", "mine", "algorithm=gentle", *FAST, *more)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"prsgd: {message}")
    assert len(refused.stderr.splitlines()) == 1
    assert not (their_folder / "runs").exists()


def test_a_wrong_choice_names_theirs_too(prsgd: Command, their_folder: Path) -> None:
    refused = prsgd("train", "--config-dir=mine", "algorithm=gentel")
    assert refused.stderr.startswith("prsgd: algorithm=gentel: must be one of adacomm, ")
    assert refused.stderr.endswith(", vrl_sgd, gentle; did you mean gentle?\n")
