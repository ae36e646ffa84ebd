"""Help that is made of conf/: the comments beside the keys are the documentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from prsgd.config.choices import conf_dir, files
from prsgd.config.schema import GROUPS
from prsgd.console import console

OVERVIEW = """\
prsgd: parallel restarted SGD (Yu, Yang and Zhu, AAAI 2019), an experiment
runner. N workers take I local SGD steps each, average their models, and restart
from the average.

  prsgd train KEY=VALUE ...            train; train --help has keys and choices
  prsgd train -m KEY=A,B,C ...         a sweep over the values
  prsgd run RUN_DIR                    go on with a run that was stopped
  prsgd figures [RESULTS] [--out DIR]  draw the runs under RESULTS (runs)
  prsgd report [RESULTS] [--out FILE]  a page of them: curves, table, commands
  prsgd verify [CLAIM ...]             check the paper's claims on numbers
  prsgd advise [KEY=VALUE ...]         which interval? from what things cost
  prsgd algorithms                     what each method does, and sends
  prsgd data NAME [KEY=VALUE ...]      fetch and decode a set ahead of a job
  prsgd sample RUN_DIR                 text from a trained language model
  prsgd completion SHELL               let the Tab key complete words
  prsgd help [COMMAND]                 this, or a command's help
  prsgd --version                      which prsgd this is

Start here, without any download:

  prsgd train +experiment=quickstart interval=8 workers=4
  prsgd train +experiment=quickstart_lm              a small GPT
  python -c 'import prsgd; help(prsgd)'              the same from Python

Exit codes: 0 done, 1 failed, 2 wrong configuration, 3 diverged, 130/143 stopped
by a signal.
"""

EXAMPLES = """\
Examples:
  prsgd train interval=8 workers=4                 # ResNet-20 on CIFAR-10
  prsgd train +experiment=quickstart interval=8    # ResNet-8 on bundled digits
  prsgd train algorithm=minibatch workers=8        # the baseline
  prsgd train -m interval=1,8,32 seed=0,1,2        # a sweep; again to resume it
  prsgd train data=image_folder data.root=~/photos # your own images
  prsgd train data=text data.root=~/book.txt       # a small GPT on your text
  prsgd train model=resnet56 data.partition=by_label --dry-run
  prsgd train -m algorithm=prsgd,slowmo,scaffold   # methods side by side
  prsgd train -m compression=none,int8,topk        # smaller messages
  prsgd train workers=16 participation=0.25        # 4 of 16 in each round
  prsgd train algorithm=diloco fragments=4 delay=2 merge=0.5
                                    # parts that travel while workers go on
  prsgd train algorithm=diloco 'groups={2: 4}' interval=16
                                    # pairs average between the rounds

Several machines: start torchrun on each; all of them must see the folder `out`.
  torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d \\
      --rdzv-endpoint=HOST:29500 --rdzv-id=JOB \\
      -m prsgd train interval=8 workers=8
Whoever can reach torchrun's ports can run code as you: use a private network,
and bind to it with --local-addr=ADDRESS and GLOO_SOCKET_IFNAME=INTERFACE. On
one machine prsgd opens no such port. scripts/slurm.sbatch has the options with
which the others train on when a machine fails.

The same command again resumes an unfinished run and skips a finished one. Runs
of a sweep go side by side where there are GPUs or cores for several; jobs=1
trains them one after another. Hydra's launchers and sweepers work as well:
hydra/launcher=joblib, hydra/launcher=submitit_slurm, +experiment=tune_optuna;
pip install 'prsgd[joblib]', 'prsgd[submitit]', 'prsgd[optuna]'.
Hydra's own options (--cfg job, --config-dir DIR, ...) work too; --hydra-help
lists them. A --config-dir is code: what its files name is imported and run. Use
folders that you trust.
"""

ABOUT = ("Helps: ", "Sends: ")  # how the comments in conf/algorithm begin
KEYS, CHOICES = 30, 21  # letters before the comment of a key, and before that of a choice
BASE = re.compile(  # a file in the defaults of another
    r"^ *- (_(?!self_)\w+)(?:@\w+)?$", re.MULTILINE
)
LINE = re.compile(r"^(?!defaults:)(?P<key>[a-z]\w*): *(?P<value>\S.*?) *(?:# (?P<comment>.*))?$")
REFERENCE = re.compile(r"\$\{(\w+)\}")  # the value of a key that follows another


def train_help(folders: Sequence[Path] = ()) -> str:
    """The text of `prsgd train --help`; `folders` have choices of one's own."""
    parts = [
        "prsgd train [KEY=VALUE ...] [GROUP=CHOICE ...] [-m] [--dry-run]",
        "",
        "  -m, --multirun   run every combination of KEY=A,B,C values",
        "  --dry-run        print steps, rounds, bytes, memory and time; start nothing",
        "  --help NAME ...  of some keys, groups or choices only, in full",
        "",
        "Keys:",
        *(
            described(f"{key}={value}", comment)
            for key, (value, comment) in commented(conf_dir() / "config.yaml").items()
        ),
    ]
    for group in GROUPS:
        parts += ["", f"{group}=...", *choices_of(group, folders)]
    parts += ["", "+method=...  (methods of papers that are settings of the above)"]
    parts += presets("method")
    parts += ["", "+experiment=...  (whole runs and sweeps, written down once)"]
    parts += presets("experiment")
    return "\n".join([*parts, "", EXAMPLES])


def presets(group: str) -> list[str]:
    """A line per file of a group that sets keys of others."""
    return [described(path.stem, title(path), CHOICES) for path in files(group)]


def choices_of(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """A line per choice of a group with its own keys, and then the keys that all of them have."""
    paths = [path for folder in (conf_dir(), *folders) for path in files(group, folder)]
    found = {path: commented(path, f"{group}.") for path in paths}
    common = set.intersection(*map(set, found.values()))
    lines = []
    for path, own in found.items():
        lines.append(described(path.stem, title(path), CHOICES))
        lines += [
            described(f"  {key}={value}", comment)
            for key, (value, comment) in own.items()
            if key not in common
        ]
    return lines + [
        _of_all(key, found.values()) for key in next(iter(found.values())) if key in common
    ]


def _of_all(key: str, choices: Iterable[dict[str, tuple[str, str]]]) -> str:
    """The line of a key that all choices have; `...` where they differ in its value."""
    values, comments = ({own[key][place] for own in choices} for place in (0, 1))
    value = values.pop() if len(values) == 1 else "..."
    comment = comments.pop() if len(comments) == 1 else f"depends on the choice: --help {key}"
    return described(f"{key}={value}", comment)


def described(name: str, comment: str, indent: int = KEYS) -> str:
    """A name and its comment beside it, in lines of the terminal's width, or of 80 letters."""
    width = max(80, console.width if console.is_terminal else 80)
    first, gap = f"  {name:<{indent - 2}}  ", " " * (indent + 2)
    lines = textwrap.fill(comment, width, initial_indent=first, subsequent_indent=gap)
    return lines or first.rstrip()


def algorithms(folders: list[Path]) -> list[tuple[str, ...]]:
    """(name, what it does, when it helps, what it sends a round) of each file in conf/algorithm."""
    rows = []
    for path in (p for folder in folders for p in sorted((folder / "algorithm").glob("*.yaml"))):
        lines = path.read_text().splitlines()
        more = (next((li for li in lines if li.startswith(f"# {a}")), f"# {a}") for a in ABOUT)
        rows.append((path.stem, title(path), *(li.partition(": ")[2] for li in more)))
    return rows


def title(path: Path) -> str:
    """The first comment line of a yaml file that is not for Hydra."""
    comments = (line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
    return next((comment for comment in comments if not comment.startswith("@")), "")


def commented(path: Path, prefix: str = "") -> dict[str, tuple[str, str]]:
    """The keys that have a comment."""
    return {key: (value, said) for key, (value, said) in keys(path, prefix).items() if said}


def keys(path: Path, prefix: str = "") -> dict[str, tuple[str, str]]:
    """The keys of a yaml file, those of the files in its defaults included.

    Each has its value and its comment, which may be empty; a value that replaces another keeps
    that one's comment.
    """
    text, found = path.read_text(), dict[str, tuple[str, str]]()
    for base in BASE.findall(text):
        found |= keys(path.with_name(f"{base}.yaml"))
    for line in filter(None, map(LINE.match, text.splitlines())):
        key, value, comment = line["key"], line["value"], line["comment"]
        found[key] = value, comment or found.get(key, ("", ""))[1]
    return {prefix + key: what for key, what in found.items()}
