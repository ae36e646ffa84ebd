"""The command line as a user meets it: help, refusals, sweeps, resuming, skipping."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Command, part, small_run, table
from rich.console import Console
from test_data import TREE, tree

from prsgd.cli.train_screens import show_lines
from prsgd.config.explain import with_source
from prsgd.config.plan import STREAMS, Plan
from prsgd.config.swept import swept
from prsgd.cost import estimate

SMALL = [
    *("model=mlp", "model.width=8", "schedule=constant", "lr=0.05", "batch_size=4", "workers=2"),
    *("data=synthetic", "data.train=160", "data.test=40", "data.size=8", "epochs=2"),
    *("precision=fp32", "threads=1", "processes=1", "device=cpu"),
]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["prsgd train KEY=VALUE", "quickstart", "Exit codes"]),
        (["--help"], ["prsgd run RUN_DIR", "prsgd figures", "prsgd report", "prsgd data NAME"]),
        (
            ["train", "--help"],
            ["interval=8", "average | keep | reset", "resnet110", "image_folder", "quickstart"],
        ),
        (["run", "--help"], ["RUN_DIR"]),
        (["figures", "--help"], ["RESULTS", "--out DIR", "--best-of KEY", "--best-by COLUMN"]),
        (["report", "--help"], ["RESULTS", "--out FILE", "question: ", "prsgd[report]"]),
        (["verify", "--help"], ["CLAIM", "unequal_different", "--quick", "--out DIR"]),
        (["advise", "--help"], ["KEY=VALUE", "--calibrate", "--from DIR", "--bandwidth-mbit"]),
        (["data", "--help"], ["NAME", "data.root=DIR"]),
    ],
)
def test_help_teaches(prsgd: Command, arguments: list[str], words: list[str]) -> None:
    done = prsgd(*arguments)
    assert done.returncode == 0
    assert not done.stderr
    for word in words:
        assert word in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["verify", "--help"],
        ["advise", "--help"],
        ["train", "--help"],
        ["train", "interval=0"],
        ["data", "x=1"],
    ],
)
def test_help_and_refusals_do_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from prsgd.cli.main import dispatch; from prsgd.errors import UserError\n"
        f"try: dispatch({arguments!r})\nexcept (UserError, SystemExit): pass\n"
        "assert not {'torch', 'torchvision', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ALLOWED_MODELS = (
    "gpt_nano, gpt_small, mlp, resnet8, resnet20, resnet32, resnet44, resnet56, resnet110"
)
REFUSED = {
    "train intervall=3": "intervall: there is no such key; did you mean interval?",
    "train +intervall=3": "intervall: there is no such key; did you mean interval?",
    "train +data.rooot=3": "data.rooot: there is no such key; did you mean data.root?",
    "train data.rooot=3": "data.rooot: there is no such key; did you mean data.root?",
    "train qqq=3": "qqq: there is no such key; prsgd train --help lists all keys and choices\n",
    "train compression.zzz=3": "compression.zzz: there is no such key; allowed are "
    "compression.error_feedback, compression.ratio, compression.residual_decay, "
    "compression.rounding\n",
    "train -m hydra.launcher.n_jobs=2": "hydra.launcher.n_jobs: Hydra has no such key, and no "
    "plugin that was chosen has it\n",
    "train -m hydra.job.chdir=maybe": "hydra.job.chdir=maybe: value 'maybe' is not a valid bool",
    "train hydra/job_logging=zzz": "hydra/job_logging=zzz: Hydra has no such choice\n",
    "train ~intervall": "intervall: there is no such key; did you mean interval?\n",
    "train ~hydra.zzz": "hydra.zzz: Hydra has no such key, and no plugin that was chosen has it\n",
    "train interval=0": "interval=0: must be a whole number of at least 1",
    "train interval=eight": "interval=eight: must be a whole number of at least 1",
    "train workers=0": "workers=0: must be a whole number of at least 1",
    "train workers=2.5": "workers=2.5: must be a whole number of at least 1",
    "train lr=-1": "lr=-1.0: must be a number above 0",
    "train nesterov=true": "nesterov=true: needs momentum above 0",
    "train momentum_at_sync=drop": "momentum_at_sync=drop: must be one of average, keep, reset",
    "train workers=60000": "workers=60000: must be at most the 50000 training images",
    "train batch_size=12501 remainder=drop": "batch_size=12501: must be at most 12500, a worker's "
    "part of 50000 training images (workers=4), with remainder=drop",
    "train processes=5": "processes=5: must be auto or at most workers=4: a process hosts one "
    "worker or more",
    "train model=resnet21": f"model=resnet21: must be one of {ALLOWED_MODELS}",
    "train model.depth=21": "model.depth=21: must be 6n + 2: 8, 20, 32, 44, 56, 110, ...",
    "train data=imagenet": "data=imagenet: must be one of cifar10, cifar100, digits, "
    "fashion_mnist, image_folder, npz, stdlib, synthetic, table, text, tokens",
    "train data.partition=random": "data.partition=random: must be one of shared, iid, dirichlet, "
    "by_label",
    "train +experiment=none": "experiment=none: must be one of ",
    "train +experiment=full experiment/full@_global_=prsgd_9": (
        "experiment/full=prsgd_9: must be one of minibatch, post_local, prsgd_8, prsgd_32; did you "
    ),
    "train model=resnet/20": f"model=resnet/20: must be one of {ALLOWED_MODELS}",
    "train algorithm._target_=os.system": "algorithm._target_=os.system: must be a class of prsgd, "
    "or of a package in plugins, for this group",
    "train model._target_=torch.nn.Linear": "model._target_=torch.nn.Linear: must be a class of "
    "prsgd, or of a package in plugins, for this group",
    "train device=cuda": "device=cuda: there is no CUDA GPU here; it must be auto or cpu",
    "train data=image_folder": "data.root is required: a folder with train/<class>/* and "
    "test/<class>/* images",
    "train data=image_folder data.root=nowhere": f"data.root=nowhere: there is no such folder; "
    f"{TREE}",
    "train data=image_folder data.root=no_test": f"data.root=no_test: it has no test/; {TREE}",
    "train data=image_folder data.root=empty": f"data.root=empty: train/ holds no images; {TREE}",
    "train data=image_folder data.root=unreadable workers=1 batch_size=1": "data: "
    "{folder}/unreadable/train/bee/2.png is not a readable image (its format is unknown)",
    "train data=synthetic out=file/runs": "out=file/runs: cannot be written; it must be in a "
    "folder that you may write to",
    "train -m interval=8,0": "interval=0: must be a whole number of at least 1",
    "train interval=[": "cannot read the arguments: interval=[ is not of the form KEY=VALUE",
    f"train interval={'9' * 5000}": "interval: a number of 5,000 digits cannot be read",
    "train interval=1,4": "interval=1,4: several values are a sweep, which needs -m",
    "train experiment=quickstart": "experiment: say +experiment=NAME, as no experiment is chosen",
    "train +lr=3": "+lr: the key is there already; leave out the +",
    "train data.root=a=b": "data.root=a=b: the value has to be quoted twice: \"data.root='a=b'\"",
    "train out=Läufe&neue": "out=Läufe&neue: the value has to be quoted twice: "
    "\"out='Läufe&neue'\"",
    "train model=mpl": f"model=mpl: must be one of {ALLOWED_MODELS}; did you mean mlp?",
    "train model=mlp2 +experiment=quickstart": f"model=mlp2: must be one of {ALLOWED_MODELS}; did "
    "you mean mlp?",
    "train -m model=mlp,resnet9": "model=resnet9: must be one of ",
    "train -m model=mlp,resnet8 lr=interval(0.1,0.5)": "cannot read the arguments: ",
    "train -m model=": f"model=: must be one of {ALLOWED_MODELS}",
    "train -m lr=glob(*)": "-m: the sweep is empty; one of its keys has no values",
    "train -m +experiment=paper data=digits": "data.root: there is no such key; allowed are "
    "data.alpha, data.crop, data.flip, data.label, data.partition, data.size (+experiment=paper "
    "sets it)\n",
    "train +experiment=paper data.root=nowhere lr=-1": "lr=-1.0: must be a number above 0",
    "trian": "trian: there is no such command; allowed are train, run, figures, "
    "report, verify, advise, algorithms, data, sample, completion, help; did you mean train?",
    "run nowhere": "nowhere is not a run folder: it has no config.yaml",
    "run future": "future/config.yaml has version 9; this prsgd reads versions 1 and 2",
    "run damaged": "damaged/config.yaml is damaged: it is not valid YAML",
    "run foreign": "foreign/config.yaml: algorithm._target_=os.system: must be a class of prsgd, "
    "or of a package in plugins, for this group",
    "figures empty": "empty: there is no finished run in it; start one with prsgd train",
    "data imagenet": "data=imagenet: must be one of cifar10",
}


@pytest.fixture
def mess(tmp_path: Path) -> Path:
    """A folder with what users point at by mistake."""
    tree(tmp_path / "unreadable")
    (tmp_path / "unreadable/train/bee/2.png").write_bytes(b"not a picture")
    tree(tmp_path / "no_test")
    (tmp_path / "no_test/test").rename(tmp_path / "no_test/validation")
    (tmp_path / "empty/train").mkdir(parents=True)
    (tmp_path / "empty/test").mkdir()
    (tmp_path / "file").write_text("")
    for name, text in {
        "future": "version: 9",
        "damaged": "a: [",
        "foreign": "version: 1\nalgorithm: {_target_: os.system}",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    return tmp_path


@pytest.mark.skipif(torch.cuda.is_available(), reason="what it says of GPUs is for none")
@pytest.mark.parametrize("command", REFUSED)
def test_bad_input_gets_one_line(prsgd: Command, mess: Path, command: str) -> None:
    before = {path for path in mess.rglob("*") if "cache" not in path.parts}
    done = prsgd(*command.split(), timeout=60)
    assert done.seconds < 8
    assert done.returncode == 2
    assert done.stderr.startswith(f"prsgd: {REFUSED[command]}".replace("{folder}", str(mess)))
    assert done.stderr.count("\n") == 1
    said = re.sub("reading data|unreadable: .* images", "", done.stdout)
    assert not said.strip(" ━0123456789/:-\n")
    assert {path for path in mess.rglob("*") if "cache" not in path.parts} == before


def test_an_experiment_is_named_for_what_it_gave_only() -> None:
    typed = ["+experiment=paper", "data=digits", "lr=3"]
    unknown = "data.root: there is no such key; did you mean data.crop?"
    assert with_source(unknown, typed) == f"{unknown} (+experiment=paper sets it)"
    for message in ("data.root is required: a folder", "lr=3: must be less", "momentum=1: must be"):
        assert with_source(message, typed) == message
    assert with_source(unknown, [*typed, "data.root=x"]) == unknown
    assert with_source(unknown, ["data=digits"]) == unknown


def test_a_run_a_rerun_and_a_skip(prsgd: Command, tmp_path: Path) -> None:
    done = prsgd("train", *SMALL)
    assert done.returncode == 0, done.stderr
    for words in ("epoch 2/2", "test accuracy", "communication", "prsgd figures runs"):
        assert words in done.stdout
    [folder] = (tmp_path / "runs").iterdir()
    assert str(folder.relative_to(tmp_path)) in done.stdout
    again = prsgd("train", *SMALL)
    assert again.returncode == 0
    assert again.stdout.startswith(f"runs/{folder.name} is done (test accuracy ")
    assert again.stdout.endswith(": skipped\n")
    by_hand = prsgd("run", f"runs/{folder.name}")
    assert by_hand.returncode == 0
    assert "skipped" in by_hand.stdout


def test_run_resumes_by_hand(prsgd: Command, tmp_path: Path) -> None:
    assert prsgd("train", *SMALL).returncode == 0
    [folder] = (tmp_path / "runs").iterdir()
    expected = table(folder)
    moved = folder.rename(tmp_path / "moved")
    for name in ("status.json", "metrics.csv", "rounds.csv", "environment.json"):
        (moved / name).unlink()
    for path in (moved / "checkpoint").glob("*/*"):
        path.unlink()
    done = prsgd("run", "moved")
    assert done.returncode == 0, done.stderr
    assert table(moved).equals(expected)


def test_train_refuses_a_folder_of_another_version(prsgd: Command, tmp_path: Path) -> None:
    assert prsgd("train", *SMALL).returncode == 0
    [folder] = (tmp_path / "runs").iterdir()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("version: 2", "version: 9"))
    done = prsgd("train", *SMALL)
    assert done.returncode == 2
    where = f"runs/{folder.name}/config.yaml"
    assert done.stderr == f"prsgd: {where} has version 9; this prsgd reads versions 1 and 2\n"


def test_run_refuses_other_data(prsgd: Command, tmp_path: Path) -> None:
    tree(tmp_path / "insects", train=20)
    small = [a for a in SMALL if not a.startswith("data")]
    where = ("data=image_folder", "data.root=insects", "data.size=8")
    assert prsgd("train", *small, *where).returncode == 0
    [folder] = (tmp_path / "runs").iterdir()
    (tmp_path / "insects/train/ant/0.png").unlink()
    done = prsgd("run", f"runs/{folder.name}")
    assert done.returncode == 2
    assert done.stderr == f"prsgd: runs/{folder.name}: the data have changed since it was started\n"


def test_dry_run_starts_nothing(prsgd: Command, tmp_path: Path) -> None:
    done = prsgd("train", *SMALL, "interval=7", "--dry-run")
    assert done.returncode == 0
    steps, rounds = 40, 6
    sent = rounds * 4 * (3 * 8 * 8 * 8 + 8 + 8 * 10 + 10)
    shown = dict(line.strip().split(maxsplit=1) for line in done.stdout.splitlines()[:10])
    assert shown["run"].startswith("prsgd-I7-N2-s0-")
    assert [shown[key] for key in ("model", "data")] == ["MLP-8", "synthetic"]
    assert [shown[key] for key in ("steps", "rounds")] == [str(steps), str(rounds)]
    assert (shown["sent"], shown["status"]) == (f"{sent / 1000:.3g} kB", "new")
    alone = shown["time"].removeprefix("about ")
    assert f"1 run planned, about {alone} of training; nothing was started" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_plan_has_the_activations_of_what_is_computed_at_once() -> None:
    """Rows of 100 parameters with gradient and momentum; graphs keep activations side by side."""
    alone = Plan("cuda", 1, 1, "fp32", "in_process", 1)
    gradient = estimate.Gradient(seconds=1.0, activations=1000)
    run = small_run(workers=6, momentum=0.9)
    assert estimate.process_memory(run, alone, [40, 60], gradient) == 6 * 3 * 400 + 6 * 1000
    loop = replace(run, gradients="loop")
    assert estimate.process_memory(loop, alone, [40, 60], gradient) == 6 * 3 * 400 + 1000
    many = replace(run, workers=STREAMS + 1)
    rows = (STREAMS + 1) * 3 * 400
    assert estimate.process_memory(many, alone, [100], gradient) == rows + STREAMS * 1000
    on_four = replace(alone, processes=4)  # hosting 2, 2, 1 and 1 of them
    assert estimate.process_memory(run, on_four, [100], gradient) == 2 * 3 * 400 + 2 * 1000


def test_activations_are_what_the_forward_pass_keeps() -> None:
    """Those of an MLP grow with the batch, and are as many fewer as it is cut into parts."""
    plan = Plan("cpu", 1, 1, "fp32", "in_process", 1)
    four, eight = (estimate.gradient(small_run(batch_size=b), plan, {}).activations for b in (4, 8))
    pixels, hidden, logits = 3 * 8 * 8, 8, 10
    label, mean = 8, 4  # bytes
    assert eight - four == 4 * (4 * (pixels + hidden + logits) + label)
    assert four == eight - four + mean
    halves = small_run(batch_size=8, accumulate=2)
    assert estimate.gradient(halves, plan, {}).activations == eight // 2


def test_a_plan_of_several_runs_shows_what_differs(prsgd: Command) -> None:
    done = prsgd("train", "-m", *SMALL, "algorithm=minibatch,prsgd", "lr=0.05,0.1", "--dry-run")
    before, table = done.stdout.split("\n\n")[0], done.stdout.split("\n ")[2:]
    assert re.findall(r"^(\w+)  ", before, re.MULTILINE) == [
        *("model", "data", "processes", "memory", "steps")
    ]
    heads = done.stdout.split("status")[0].split("\n")[-1].split()
    assert heads == ["lr", "algorithm", "rounds", "sent", "time"]
    rows = [line.split()[:3] for line in table if " new " in line]
    assert rows == [[lr, name, n] for lr in ("0.05", "0.1") for name, n in BOTH]


BOTH = (("minibatch", "40"), ("prsgd", "5"))


def test_swept_keys_have_short_names_where_these_are_one() -> None:
    """A key that one method lacks is empty there, and `outer` is short for one key only."""
    configs = [
        small_run(algorithm=own, lr=lr).as_dict()
        for own, lr in (
            (part("prsgd", interval=4), 0.1),
            (part("prsgd", interval=8), 0.1),
            (part("minibatch"), 0.2),
        )
    ]
    assert swept(configs) == [
        {"lr": "0.1", "algorithm": "prsgd", "interval": "4"},
        {"lr": "0.1", "algorithm": "prsgd", "interval": "8"},
        {"lr": "0.2", "algorithm": "minibatch", "interval": ""},
    ]


def test_a_narrow_terminal_has_no_room_for_names_and_reasons(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = "done: as it should be"
    lines = [{"lr": f"{k}", "status": status, "run": "r" * 60} for k in range(3)]
    for width, is_there, has_reason in ((20, False, False), (60, False, True), (110, True, True)):
        terminal = Console(width=width, force_terminal=True)
        monkeypatch.setattr("prsgd.console.console", terminal)
        show_lines(lines)
        shown = capsys.readouterr().out
        assert ("r" * 60 in shown) == is_there
        assert (status in shown) == has_reason
        assert shown.count("done") == 3


@pytest.mark.dist
def test_a_sweep(prsgd: Command, tmp_path: Path) -> None:
    """Duplicates are dropped, a diverged run does not end it, and the code is the gravest."""
    sweep = ["train", "-m", *SMALL, "algorithm=minibatch,prsgd", "interval=4,8", "lr=0.05,1e9"]
    done = prsgd(*sweep)
    assert done.returncode == 3, done.stderr
    folders = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs").iterdir())
    assert folders == ["minibatch-N2-s0"] * 2 + ["prsgd-I4-N2-s0"] * 2 + ["prsgd-I8-N2-s0"] * 2
    assert "[6/6]" in done.stdout
    assert done.stdout.count("diverged: the training loss is") >= 3
    heads = done.stdout.split("\n \u2500")[-2].split("\n")[-1].split()
    assert heads[:4] == ["lr", "algorithm", "interval", "status"]
    again = prsgd(*sweep)
    assert again.returncode == 3
    assert again.stdout.count(": skipped") == 6
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_sweep_under_torchrun_is_refused(prsgd: Command, tmp_path: Path, cache: Path) -> None:
    torchrun = {
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "XDG_CACHE_HOME": str(cache),
    }
    done = prsgd("train", "-m", *SMALL, "interval=1,2", env={**os.environ, **torchrun})
    assert done.returncode == 2
    assert done.stderr == (
        "prsgd: -m: a sweep cannot run under torchrun; start one torchrun per run\n"
    )


def test_a_configuration_of_the_users_own(prsgd: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine/model"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("_target_: prsgd.models.MLP\nwidth: 3\n")
    small = [a for a in SMALL if not a.startswith("model")]
    done = prsgd("train", "--config-dir", "mine", *small, "model=tiny")
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").iterdir()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["width"] == 3


def test_data_are_prepared_ahead(prsgd: Command, tmp_path: Path) -> None:
    tree(tmp_path / "insects")
    done = prsgd("data", "image_folder", "data.root=insects", "data.size=8")
    assert done.returncode == 0, done.stderr
    assert "insects: 8 training images, in " in done.stdout
    of_many = prsgd(
        "data", "synthetic", "data.train=40", "+runs={all: {data: [{size: 8}, {size: 9}]}}"
    )
    assert of_many.returncode == 0, of_many.stderr
    assert of_many.stdout.count("40 training images, in ") == 2


def test_a_short_option_of_hydras_is_no_folder(prsgd: Command) -> None:
    """-c is --cfg, and not the beginning of -cd."""
    shown = prsgd("train", "-c", "job", "workers=3", "--package", "workers")
    assert shown.stdout.strip() == "3", shown.stderr
    missing = prsgd("train", "--config-dir")
    assert missing.returncode == 2
    assert missing.stderr == "prsgd: --config-dir=: must be a folder\n"


def test_control_c_before_anything_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prsgd.cli import main as cli

    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "dispatch", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "prsgd: interrupted before anything was trained\n"
