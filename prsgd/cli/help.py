"""Help that is made of conf/: the comments beside the keys are the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from prsgd.config.choices import conf_dir, files
from prsgd.config.schema import GROUPS

OVERVIEW = """\
prsgd: parallel restarted SGD (Yu, Yang and Zhu, AAAI 2019), an experiment runner.

N workers take I local SGD steps each, average their models, and restart from the average.

  prsgd train KEY=VALUE ...            train; `prsgd train --help` lists keys and choices
  prsgd train -m KEY=A,B,C ...         a sweep over the values
  prsgd run RUN_DIR                    go on with a run that was stopped
  prsgd figures [RESULTS] [--out DIR]  draw the runs found under RESULTS (default: runs)
  prsgd verify [CLAIM ...]             check the paper's claims on problems with known constants
  prsgd advise [KEY=VALUE ...]         which interval? from the network's and the step's costs
  prsgd algorithms                     the methods: what each does, when it helps, what it sends
  prsgd data NAME [KEY=VALUE ...]      fetch and decode a set ahead of a job
  prsgd sample RUN_DIR                 text from a trained language model

Start here, without any download:

  prsgd train +experiment=quickstart interval=8 workers=4
  prsgd train +experiment=quickstart_lm                    a small GPT
  python -c 'import prsgd; help(prsgd)'                    the same from Python

Exit codes: 0 done, 1 failed, 2 wrong configuration, 3 diverged, 130/143 stopped by a signal.
"""

EXAMPLES = """\
Examples:
  prsgd train interval=8 workers=4                           ResNet-20 on CIFAR-10
  prsgd train +experiment=quickstart interval=8 workers=4    ResNet-8 on bundled digits
  prsgd train algorithm=minibatch workers=8                  the baseline
  prsgd train -m interval=1,4,8,16,32 workers=8 seed=0,1,2   a sweep; run it again to resume it
  prsgd train data=image_folder data.root=~/pictures         your own images
  prsgd train data=text data.root=~/book.txt                 a small GPT on your own text
  prsgd train model=resnet56 data.partition=by_label --dry-run
  prsgd train -m algorithm=prsgd,slowmo,scaffold workers=8   methods side by side
  prsgd train -m compression=none,int8,topk                  smaller messages side by side
  prsgd train algorithm=diloco fragments=4 delay=2 merge=0.5 parts that travel while workers go on
  prsgd train workers=16 participation=0.25                  4 of 16 workers in each round
  prsgd train algorithm=diloco 'groups={2: 4}' interval=16   pairs average between the rounds

Several machines: start torchrun on each. `out` must be a folder that all of them see.
  torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 \\
      --rdzv-id=JOB -m prsgd train interval=8 workers=8
Whoever can reach torchrun's ports can run code as you: use a private network, and bind to it with
--local-addr=ADDRESS and GLOO_SOCKET_IFNAME=INTERFACE. On one machine prsgd opens no such port.
scripts/slurm.sbatch has the options with which the others train on when a machine fails.

The same command again resumes an unfinished run and skips a finished one.
Hydra's own options (--cfg job, --config-dir DIR, ...) work as well; see --hydra-help.
A --config-dir is code: what its files name is imported and run. Use folders that you trust.
"""

ABOUT = ("Helps: ", "Sends: ")  # how the comments in conf/algorithm begin
BASE = re.compile(  # a file in the defaults of another
    r"^ *- (_(?!self_)\w+)(?:@\w+)?$", re.MULTILINE
)
LINE = re.compile(r"^(?P<key>\w+): *(?P<value>.*?) *(?:# (?P<comment>.*))?$")


def train_help() -> str:
    """The text of `prsgd train --help`."""
    parts = [
        "prsgd train [KEY=VALUE ...] [GROUP=CHOICE ...] [-m] [--dry-run]",
        "",
        "  -m, --multirun   run every combination of KEY=A,B,C values, one after another",
        "  --dry-run        print runs, steps, rounds, bytes and time; start nothing",
        "",
        "Keys:",
        *(described(key, *what) for key, what in keys(conf_dir() / "config.yaml").items()),
    ]
    for group in GROUPS:
        parts += ["", f"{group}=...", *choices_of(group)]
    parts += ["", "+method=...  (methods of papers that are settings of the above)"]
    parts += [f"  {path.stem:<21}{title(path)}" for path in files("method")]
    parts += ["", "+experiment=...  (whole runs and sweeps, written down once)"]
    parts += [f"  {path.stem:<21}{title(path)}" for path in files("experiment")]
    return "\n".join([*parts, "", EXAMPLES])


def choices_of(group: str) -> list[str]:
    """A line per choice of a group with its own keys, and then the keys that all of them have."""
    found = {path: keys(path, f"{group}.") for path in files(group)}
    common = set.intersection(*map(set, found.values()))
    lines = []
    for path, own in found.items():
        lines.append(f"  {path.stem:<21}{title(path)}")
        lines += [f"  {described(key, *own[key])}" for key in own if key not in common]
    return lines + [
        _of_all(key, found.values()) for key in next(iter(found.values())) if key in common
    ]


def _of_all(key: str, choices: Iterable[dict[str, tuple[str, str]]]) -> str:
    """The line of a key that all choices have; `...` where they differ in its value."""
    values = {own[key][0] for own in choices}
    comment = next(iter(choices))[key][1]
    return described(key, "..." if len(values) > 1 else values.pop(), comment)


def described(key: str, value: str, comment: str) -> str:
    return f"  {key + '=' + value:<30}  {comment}"


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


def keys(path: Path, prefix: str = "") -> dict[str, tuple[str, str]]:
    """The commented keys of a yaml file, those of the files in its defaults included.

    Each has its value and its comment; a value that replaces another keeps that one's comment.
    """
    text, found = path.read_text(), dict[str, tuple[str, str]]()
    for base in BASE.findall(text):
        found |= keys(path.with_name(f"{base}.yaml"))
    for line in filter(None, map(LINE.match, text.splitlines())):
        key, value, comment = line["key"], line["value"], line["comment"]
        if comment or key in found:
            found[key] = value, comment or found[key][1]
    return {prefix + key: what for key, what in found.items()}
