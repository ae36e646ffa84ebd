"""Help for one name, versions, and the Tab key."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

import prsgd as package
from prsgd.cli.about import about
from prsgd.cli.completion import SCRIPTS, completed
from prsgd.cli.help import train_help
from prsgd.cli.main import COMMANDS
from prsgd.config.choices import ALIASES, known_keys
from prsgd.errors import UserError


def complete(line: str) -> list[str]:
    return completed(line, COMMANDS)


def test_commands_keys_and_choices_are_completed() -> None:
    assert complete("prsgd ") == [*COMMANDS]
    assert complete("prsgd a") == ["advise", "algorithms"]
    assert complete("prsgd train interv") == ["interval="]
    assert complete("prsgd train -m data.r") == ["data.root="]
    assert complete("prsgd advise model=gpt") == ["model=gpt_nano", "model=gpt_small"]
    assert complete("prsgd train optimiser=") == ["optimiser=sgd", "optimiser=adamw"]
    assert complete("prsgd train nesterov=t") == ["nesterov=true"]
    assert complete("prsgd train +method=spar") == ["+method=sparseloco"]
    assert complete("prsgd train +exp") == ["+experiment="]
    assert complete("prsgd train --d") == ["--dry-run"]
    assert complete("prsgd train lr=0") == []
    assert complete("prsgd figures ru") == [], "files are the shell's"


def test_each_value_of_a_sweep_is_completed() -> None:
    found = complete("prsgd train -m algorithm=prsgd,slo")
    assert found == ["algorithm=prsgd,slowmo"]


def test_choices_of_ones_own_are_completed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("# a tiny one\n_target_: prsgd.models.MLP\n")
    line = f"prsgd train --config-dir={tmp_path} model=ti"
    assert complete(line) == ["model=tiny"]
    assert "a tiny one" in train_help([tmp_path])
    assert "a tiny one" in about("tiny", [tmp_path])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "found"), [("prsgd tra", "train"), ("prsgd train model=resnet11", "resnet110")]
)
def test_bash_completes(line: str, found: str) -> None:
    """As bash does it, which takes what follows a = for a word of its own."""
    own = f'prsgd() {{ "{sys.executable}" -m prsgd "$@"; }}\n'
    ask = f'COMP_LINE="{line}" COMP_POINT={len(line)}; _prsgd; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", own + SCRIPTS["bash"] + ask], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"{found} \n", "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(
    ("line", "found"), [("prsgd tra", "train"), ("prsgd train model=resnet11", "model=resnet110")]
)
def test_fish_completes(line: str, found: str) -> None:
    own = f'function prsgd; "{sys.executable}" -m prsgd $argv; end\n'
    ask = f"complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", own + SCRIPTS["fish"] + ask],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [found]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("line", "found"),
    [("prsgd tra", "prsgd train "), ("prsgd train model=resnet11", "prsgd train model=resnet110 ")],
)
def test_zsh_completes(line: str, found: str, tmp_path: Path) -> None:
    """As zsh does it on a terminal: what stands in its line after the Tab key goes into a file."""
    (tmp_path / ".zshrc").write_text(
        "autoload -U compinit && compinit -u\n"
        f'prsgd() {{ "{sys.executable}" -m prsgd "$@"; }}\n{SCRIPTS["zsh"]}'
        f'_keep() {{ print -rn -- "$BUFFER" > "{tmp_path}/line"; exit; }}\n'
        "zle -N _keep && bindkey '^X' _keep\nPS1='ready> '\n"
    )
    terminal, shells = pty.openpty()
    environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "xterm"}
    shell = subprocess.Popen(
        ["zsh", "-i"], stdin=shells, stdout=shells, stderr=shells, env=environment, close_fds=True
    )
    os.close(shells)
    seen = b""
    while b"ready> " not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, f"{line}\t\x18".encode())
    with contextlib.suppress(OSError):
        while os.read(terminal, 1024):
            pass
    assert shell.wait(30) == 0
    assert (tmp_path / "line").read_text() == found


def test_completion_is_printed(prsgd: Command) -> None:
    assert prsgd("completion", "fish").stdout == SCRIPTS["fish"]
    assert "source <(prsgd completion zsh)" in prsgd("help", "completion").stdout
    assert prsgd("complete", "prsgd sa").stdout == "sample\n"


def test_the_version_is_said(prsgd: Command) -> None:
    assert prsgd("--version").stdout == f"prsgd {package.__version__}\n"


def test_help_is_a_command(prsgd: Command) -> None:
    assert prsgd("help").stdout == prsgd("--help").stdout
    assert "RUN_DIR" in prsgd("help", "run").stdout


def test_all_help_fits_80_columns() -> None:
    long = [line for line in train_help().splitlines() if len(line) > 80]
    assert long == []


def test_every_key_has_help() -> None:
    for key in known_keys():
        assert ALIASES.get(key, key) in about(key, [])
    assert about("algorithm.cap", []) == (
        "algorithm=prsgd_epochs\n  algorithm.cap=${lr}           as lr, unless it is given\n"
    )
    assert "model=resnet20\n  model.depth=20\n" in about("model.depth", [])
    assert about("jobs", []).startswith("  jobs=auto  ")
    assert about("objective=test_loss", []).startswith("  objective=consensus_train_loss")
    assert about("interval=8", []) == about("interval", [])


def test_help_of_one_name(prsgd: Command) -> None:
    shown = prsgd("train", "--help", "interval", "algorithm.beta", "compression=topk").stdout
    assert "interval=8" in shown
    assert "must be a whole number of at least 1" in shown
    assert "algorithm=slowmo\n  algorithm.beta=0.5" in shown
    assert "compression=topk\n\n# The largest magnitudes" in shown
    assert "algorithm=..." in about("algorithm", [])
    assert "+method=sparseloco" in about("sparseloco", [])
    assert "fedavg" in about("+method", [])
    assert about("optimizer", []) == about("optimiser", [])
    with pytest.raises(UserError) as caught:
        about("topkk", [])
    assert str(caught.value) == "topkk: there is no such key; did you mean topk?"
    with pytest.raises(UserError) as caught:
        about("qqqqqq", [])
    line = "qqqqqq: there is no such key; prsgd train --help lists all keys and choices"
    assert str(caught.value) == line


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "complete"])
def test_help_fits_a_terminal(command: str, prsgd: Command) -> None:
    """At 80 columns no line is longer."""
    environment = {**os.environ, "COLUMNS": "80"}
    lines = prsgd("help", command, env=environment).stdout.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if len(line) > 80] == []
