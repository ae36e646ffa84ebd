"""prsgd in Python: what is composed, trained and read there is what the command line has."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command, table

import prsgd
from prsgd.config.compose import compose as compose_arguments

NOT_OURS = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR")  # torch sets it on being imported
SMALL = (
    *("data=synthetic", "data.size=8", "data.train=160", "data.test=40", "model=mlp"),
    *("workers=2", "batch_size=4", "epochs=1", "lr=0.05", "precision=fp32", "threads=1"),
)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def prsgd_command(request: pytest.FixtureRequest) -> Command:
    command: Command = request.getfixturevalue("prsgd")
    return command


@contextmanager
def nothing_changed() -> Iterator[None]:
    """Nothing of the process is other than before."""

    def state() -> Any:
        handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        numpys = [str(part) for part in np.random.get_state()]
        draws = torch.get_rng_state().tolist(), numpys, random.getstate()
        return {
            "arguments": list(sys.argv),
            "environment": {k: v for k, v in os.environ.items() if k not in NOT_OURS},
            "folder": Path.cwd(),
            "path": list(sys.path),
            "signal handlers": handlers,
            "draws": draws,
            "threads": torch.get_num_threads(),
        }

    before = state()
    yield
    after = state()
    assert [key for key in before if before[key] != after[key]] == []


def refusal(*overrides: str, **options: Any) -> str:
    with pytest.raises(prsgd.UserError) as caught:
        prsgd.compose(*overrides, **options)
    return str(caught.value)


# composing -------------------------------------------------------------------------------------


def test_import_is_free() -> None:
    code = (
        "import sys, prsgd; print(prsgd.__version__, dir(prsgd)); "
        "print({'torch', 'hydra', 'pandas', 'numpy'} & {*sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.endswith("set()\n"), shown
    assert all(name in shown.stdout for name in prsgd.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'prsgd' has no attribute 'trian'"):
        _ = prsgd.trian


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("+experiment=quickstart", "interval=8", "workers=4"),
        ("algorithm=diloco", "optimizer=adamw", "lr=0.001"),
        ("data=image_folder", "data.root=~/pictures"),
        ("+experiment=quickstart_lm",),
    ],
)
def test_composed_is_what_the_command_line_composes(overrides: tuple[str, ...]) -> None:
    with nothing_changed():
        run = prsgd.compose(*overrides)
    [same], _ = compose_arguments([*overrides])
    assert run == same


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["interva=3"], "interva: there is no such key; did you mean interval?"),
        (["interval=0"], "interval=0: must be a whole number of at least 1"),
        (["interval=x y"], "interval=x y: must be a whole number of at least 1"),
        (["-m"], "-m: must be KEY=VALUE; flags are the command line's"),
        (
            ["interval=1,2"],
            "interval: several values are several runs; in Python compose each run on its own",
        ),
        (
            ["+experiment=rate"],
            "+experiment=rate: sweeps over lr; in Python compose each run on its own",
        ),
        (
            ["+experiment=speedup"],
            "+experiment=speedup: makes 24 runs; in Python compose each run on its own",
        ),
        (["lr=[1"], "cannot read the arguments: lr=[1 is not of the form KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_one_line(overrides: list[str], line: str) -> None:
    with nothing_changed():
        assert refusal(*overrides) == line


def test_a_home_that_is_not_there_is_one_line() -> None:
    nowhere, line = "~no-such-user/x", "=~no-such-user/x: there is no such home folder"
    calls = {
        "resume": lambda: prsgd.train(model=torch.nn.Linear, data=LABELLED, resume=nowhere),
        "config_dir": lambda: prsgd.compose(config_dir=nowhere),
        "results": lambda: prsgd.load_runs(nowhere),
        "out": lambda: prsgd.train(model="mlp", data=LABELLED, out=nowhere),
    }
    for key, call in calls.items():
        with pytest.raises(prsgd.UserError) as caught:
            call()
        assert str(caught.value) == key + line


@pytest.mark.parametrize("override", [["interval=8"], {"interval": 8}])
def test_each_override_is_a_text(override: Any) -> None:
    kind = type(override).__name__
    line = f"each override must be a text of its own, such as interval=8, not {kind}"
    assert refusal(override) == refusal("workers=2", override) == line


def test_a_wrong_choice_names_the_nearest() -> None:
    line = refusal("model=resnt8")
    assert line.startswith("model=resnt8: must be one of ")
    assert line.endswith("did you mean resnet8?")


def test_choices_of_ones_own(tmp_path: Path) -> None:
    assert refusal(config_dir="nowhere") == "config_dir=nowhere: must be a folder"
    own = tmp_path / "my choices" / "model"
    own.mkdir(parents=True)
    (own / "wide.yaml").write_text("_target_: prsgd.models.MLP\nwidth: 99\n")
    run = prsgd.compose("model=wide", config_dir=own.parent)
    assert run.model.width == 99
    assert "wide" in refusal("model=wode", config_dir=own.parent)


def test_composing_leaves_the_hydra_of_the_program_alone(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("answer: 42\n")
    code = f"""
import hydra, prsgd
@hydra.main(config_path={str(tmp_path)!r}, config_name="app", version_base=None)
def main(config):
    run = prsgd.compose("interval=3")
    from hydra.core.hydra_config import HydraConfig
    print(run.interval, hydra.compose("app").answer, HydraConfig.get().job.name)
    print(hydra.version.getbase())
main()
"""
    (tmp_path / "app.py").write_text(code)
    shown = subprocess.run([sys.executable, "app.py"], capture_output=True, text=True)
    assert shown.stdout.startswith("3 42 app\n1.3\n"), shown


def test_composing_in_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda i: prsgd.compose(f"interval={i}"), range(1, 9)))
    assert [run.interval for run in runs] == [*range(1, 9)]


# training --------------------------------------------------------------------------------------


def test_trained_is_what_the_command_line_trains(prsgd_command: Command, tmp_path: Path) -> None:
    with nothing_changed():
        result = prsgd.train(prsgd.compose(*SMALL, "processes=1"))
    shown = prsgd_command("train", *SMALL, "processes=1", "out=other")
    assert shown.returncode == 0, shown
    [other] = (tmp_path / "other").glob("prsgd-*")
    assert result.folder == Path("runs") / other.name
    assert table(result.folder).equals(table(other))
    assert (result.folder / "config.yaml").read_text().replace("out: runs", "out: other") == (
        other / "config.yaml"
    ).read_text()
    assert result.status == "done"
    assert list(result.metrics["step"]) == [0, 20]
    assert list(result.rounds["step"]) == [8, 16, 20]
    assert repr(result) == (
        f"Result(done, training loss {result.metrics.consensus_train_loss.iloc[-1]:.4f}, test "
        f"accuracy {result.metrics.test_accuracy.iloc[-1]:.2%}, 3 rounds; {result.folder})"
    )


def test_keys_are_enough() -> None:
    keys: dict[str, Any] = {"workers": 2, "batch_size": 4, "epochs": 1, "lr": 0.05, "threads": 1}
    keys |= {"data.size": 8, "data.train": 160, "data.test": 40, "processes": 1}
    result = prsgd.train(
        data="synthetic", model="mlp", precision="fp32", betas=[0.9, 0.5], profile=False, **keys
    )
    assert result.folder == prsgd.train(prsgd.compose(*SMALL, "processes=1")).folder


def test_what_has_ended_is_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    run = prsgd.compose(*SMALL, "processes=1")
    first = prsgd.train(run)
    capsys.readouterr()
    again = prsgd.train(run)
    assert capsys.readouterr().out.startswith(f"{first.folder} is done (test accuracy ")
    assert again.metrics.equals(first.metrics)


def test_the_processes_of_a_run_start_in_a_fresh_interpreter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exact = (*SMALL, "reduction=exact")
    with nothing_changed():
        one = prsgd.train(prsgd.compose(*exact, "processes=1", "out=one"))
        capsys.readouterr()
        two = prsgd.train(prsgd.compose(*exact, "processes=2", "out=two"))
    assert "training loss" in capsys.readouterr().out
    assert table(one.folder).equals(table(two.folder))
    environment = (two.folder / "environment.json").read_text()
    assert '"processes": 2' in environment


def test_the_trained_model_evaluates_as_its_run_did() -> None:
    result = prsgd.train(prsgd.compose(*SMALL, "processes=1", "data.crop=0", "data.flip=false"))
    from conftest import bound

    with nothing_changed():
        model = result.model()
    assert not model.training
    task = bound(result.run, Path(os.environ["XDG_CACHE_HOME"]) / "prsgd")
    with torch.no_grad():
        sums = sum(task.evaluate(model, chunk) for chunk in task.chunks("test"))
    found = task.summary(sums)
    assert found["loss"] == pytest.approx(result.metrics.test_loss.iloc[-1], abs=1e-6)
    assert found["accuracy"] == result.metrics.test_accuracy.iloc[-1]


def test_what_diverges_is_returned() -> None:
    result = prsgd.train(prsgd.compose(*SMALL, "processes=1", "lr=1e30"))
    assert result.status == "diverged"
    assert "the training loss is" in result.why
    assert repr(result).startswith("Result(diverged: the training loss is")
    with pytest.raises(prsgd.UserError, match="only a finished run has it"):
        result.model()


def test_a_composed_run_takes_no_more_keys() -> None:
    run = prsgd.compose(*SMALL)
    with pytest.raises(prsgd.UserError, match=r"^lr: belongs into prsgd\.compose, which"):
        prsgd.train(run, lr=1)
    with pytest.raises(prsgd.UserError, match=r"^model: belongs into prsgd\.compose"):
        prsgd.train(run, model="mlp")
    with pytest.raises(prsgd.UserError, match=r"^task: belongs into prsgd\.compose"):
        prsgd.train(run, data=LABELLED, task="classification")
    with pytest.raises(prsgd.UserError, match=r"^trian: there is no such key"):
        prsgd.train(trian=3)


@pytest.mark.parametrize("run", ["interval=8", {"interval": 8}, torch.nn.Linear])
def test_what_was_not_composed_is_no_run(run: Any) -> None:
    with pytest.raises(prsgd.UserError) as caught:
        prsgd.train(run, data=LABELLED)
    assert str(caught.value) == (
        "run: must be what prsgd.compose returned; a model is given as model=..."
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_who_trains_there_already_is_named(processes: int) -> None:
    from prsgd.run_folder import RunFolder

    run = prsgd.compose(*SMALL, f"processes={processes}")
    result = prsgd.train(run)
    folder = RunFolder(result.folder)
    folder.set_status("interrupted", "SIGINT at step 3")
    with folder.held(print), pytest.raises(prsgd.UserError, match="is being trained by process"):
        prsgd.train(run)
    assert folder.status() == ("interrupted", "SIGINT at step 3")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_fails_is_an_exception(
    processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder stands where the trained model belongs."""
    run = prsgd.compose(*SMALL, f"processes={processes}", "restarts=0")
    folder = prsgd.train(run).folder
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    for checkpoint in (folder / "checkpoint").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    from prsgd.run_folder import RunFolder

    RunFolder(folder).set_status("interrupted", "SIGINT at step 3")
    with pytest.raises(prsgd.RunFailed, match=f"^{folder.name} failed: .*model.safetensors"):
        prsgd.train(run)


def test_runs_in_threads_are_what_they_are_alone() -> None:
    """Two runs whose forward passes draw, at the same time."""
    text = (
        *("data=stdlib", "model.depth=1", "model.width=16", "model.heads=2", "model.dropout=0.3"),
        *("task.context=16", "batch_size=2", "workers=2", "epochs=0.00005", "processes=1"),
        *("evaluate_samples=2", "threads=1", "precision=fp32"),
    )
    runs = [prsgd.compose(*text, f"seed={seed}", "out=threads") for seed in (0, 1)]
    with nothing_changed(), ThreadPoolExecutor(2) as pool:
        results = list(pool.map(prsgd.train, runs))
    for seed, result in enumerate(results):
        alone = prsgd.train(prsgd.compose(*text, f"seed={seed}", "out=alone"))
        assert table(result.folder).equals(table(alone.folder))


INTERRUPTED = """
import sys, prsgd
run = prsgd.compose(*sys.argv[1:])
try:
    prsgd.train(run)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


@pytest.mark.dist
@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_leaves_a_checkpoint_and_is_raised(processes: int, tmp_path: Path) -> None:
    arguments = (*SMALL, f"processes={processes}", "epochs=2000", "reduction=exact")
    (tmp_path / "script.py").write_text(INTERRUPTED)
    command = [sys.executable, "-u", "script.py", *arguments]
    piped: Any = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **piped) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert rest.endswith("KeyboardInterrupt\n")
    [folder] = (tmp_path / "runs").iterdir()
    assert '"interrupted"' in (folder / "status.json").read_text()
    assert [*(folder / "checkpoint").iterdir()]


def test_load_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for interval in (4, 8):
        for lr in (0.05, 0.1):
            overrides = [o for o in SMALL if not o.startswith("lr=")]
            prsgd.train(
                prsgd.compose(*overrides, "processes=1", f"interval={interval}", f"lr={lr}")
            )
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "config.yaml").write_text("version: 9\n")
    capsys.readouterr()
    runs = prsgd.load_runs()
    assert "left out: runs/broken (" in capsys.readouterr().out
    assert list(runs.columns[:3]) == ["run", "lr", "interval"]
    assert len(runs) == 8
    ends = runs.groupby(["interval", "lr"]).last()
    assert list(ends.index) == [(4, 0.05), (4, 0.1), (8, 0.05), (8, 0.1)]
    own = pd.read_csv(Path("runs") / ends.run[(8, 0.1)] / "metrics.csv")
    assert ends.test_loss[(8, 0.1)] == own.test_loss.iloc[-1]
    assert (runs[runs.lr == 0.1].lr_now.max()) == 0.1
    with pytest.raises(prsgd.UserError, match=r"^nowhere: there is no finished run in it"):
        prsgd.load_runs("nowhere")


# objects of one's own -------------------------------------------------------------------------

OWN = """
from torch import nn


class Net(nn.Module):
    def __init__(self, features, outputs, width=8):
        super().__init__()
        self.inner, self.norm = nn.Linear(features, width), nn.BatchNorm1d(width)
        self.drop, self.outer = nn.Dropout(0.2), nn.Linear(width, outputs)

    def forward(self, x):
        return self.outer(self.drop(self.norm(self.inner(x)).relu()))


def absolute(output, target):
    return (output - target).abs().mean()
"""
KEYS: dict[str, Any] = {
    **{"workers": 2, "interval": 4, "epochs": 2, "batch_size": 8, "lr": 0.05, "threads": 1},
    **{"precision": "fp32", "reduction": "exact"},
}
X = np.random.default_rng(0).normal(size=(120, 5))
FLOATS = X @ [1.0, 2, 3, 4, 5]
CLASSES = (FLOATS > 0).astype(int)
LABELLED = (X[:100], CLASSES[:100]), (X[100:], CLASSES[100:])


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the user's own, which a fresh interpreter finds."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own

    yield own
    del sys.modules["own"]


def linear(features: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(features, outputs)


def complaint(**options: Any) -> str:
    with pytest.raises(prsgd.UserError) as caught:
        prsgd.train(**{**KEYS, **options})
    return str(caught.value)


def test_a_class_and_arrays(own: Any) -> None:
    """Two processes of a fresh interpreter train what one does here; each call is a new run."""
    with nothing_changed():
        here = prsgd.train(model=own.Net, data=LABELLED, algorithm="diloco", processes=1, **KEYS)
        apart = prsgd.train(model=own.Net, data=LABELLED, algorithm="diloco", processes=2, **KEYS)
    assert [r.folder.name for r in (here, apart)] == [f"diloco-I4-N2-s0-Net-{n}" for n in (1, 2)]
    assert table(here.folder).equals(table(apart.folder))
    assert table(here.folder, "rounds.csv").equals(table(apart.folder, "rounds.csv"))
    assert here.metrics.consensus_train_loss.iloc[-1] < here.metrics.consensus_train_loss[0]
    inputs = torch.randn(3, 5)
    model = here.model()
    assert isinstance(model, own.Net)
    assert torch.equal(model(inputs), apart.model()(inputs))


def test_a_module_is_copied_with_its_weights() -> None:
    torch.manual_seed(7)
    net = torch.nn.Linear(5, 2)
    before = {name: own.clone() for name, own in net.state_dict().items()}
    results = [
        prsgd.train(model=net, data=LABELLED, processes=1, **{**KEYS, "seed": seed})
        for seed in (0, 1)
    ]
    assert all(torch.equal(own, before[name]) for name, own in net.state_dict().items())
    first, second = (r.metrics.consensus_train_loss for r in results)
    assert first[0] == second[0], "both begin at the weights that the module had"
    assert first.iloc[-1] < first[0]
    logits = X[:100] @ before["weight"].double().numpy().T + before["bias"].double().numpy()
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), CLASSES[:100]]
    assert first[0] == pytest.approx(losses.mean(), rel=1e-6)


def test_a_loss_of_ones_own(own: Any) -> None:
    data = (X[:100], FLOATS[:100]), (X[100:], FLOATS[100:])
    options = {"model": linear, "data": data, **KEYS, "epochs": 20}
    absolute = prsgd.train(**options, loss=own.absolute, processes=1)
    squared = prsgd.train(**options, processes=1)
    model = absolute.model()
    with torch.no_grad():
        errors = model(torch.tensor(X[100:]).float())[:, 0] - torch.tensor(FLOATS[100:])
    assert absolute.metrics.test_loss.iloc[-1] == pytest.approx(errors.abs().mean().item(), 1e-5)
    assert squared.metrics.test_loss.iloc[-1] != absolute.metrics.test_loss.iloc[-1]
    config = (absolute.folder / "config.yaml").read_text()
    assert "criterion: absolute" in config
    apart = prsgd.train(**{**options, "model": own.Net}, loss=own.absolute, processes=2)
    assert (apart.folder / "config.yaml").read_text().count("criterion: absolute") == 1
    assert complaint(loss=3, model=linear, data=data) == (
        "loss=3: must be a function of output and target"
    )
    assert complaint(loss=own.absolute) == (
        "loss: task=image_classification has a loss of its own; leave it out"
    )


def test_what_cannot_be_imported_anew_is_trained_here(capsys: pytest.CaptureFixture[str]) -> None:
    class Local(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(5, 2)

    note = "a fresh interpreter could not import what was given: training here, with P = 1\n"
    for model in (Local, Local(), lambda: Local()):
        result = prsgd.train(model=model, data=LABELLED, **KEYS)
        assert capsys.readouterr().out.startswith(note)
        assert result.run.processes == 1
    prsgd.train(model=Local, data=LABELLED, **KEYS, processes=1)
    assert note not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (3, "model=3: must be a name, a module, or a class that makes one"),
        (
            lambda hidden: None,
            "model: <lambda> asks for hidden, and the task tells features, shape, outputs, "
            "classes; choose a model or a task that fits",
        ),
        (
            lambda: 1,
            "model=<lambda>: build() returns a value of type int; it must return a torch.nn.Module",
        ),
        (
            torch.nn.Linear(5, 1),
            "model=Linear: the model (Linear) returns (2, 1); it must return logits (2, 2) for a "
            "batch of 2",
        ),
        (
            torch.nn.Linear(5, 2).double(),
            "model=Linear: the model (Linear): weight is float64; it must be float32",
        ),
    ],
)
def test_what_is_no_model_is_one_line(model: Any, line: str) -> None:
    assert complaint(model=model, data=LABELLED) == line
    assert not Path("runs").exists()


def test_an_unknown_key_is_never_swallowed(own: Any) -> None:
    line = complaint(model=own.Net, data=LABELLED, intervall=4)
    assert line == "intervall: there is no such key; did you mean interval?"
    assert complaint(model=own.Net, data=LABELLED, interval=0) == (
        "interval=0: must be a whole number of at least 1"
    )


def test_a_task_that_does_not_fit_is_refused_with_objects_too(own: Any) -> None:
    assert complaint(model=own.Net, data=LABELLED, task="regression") == (
        "task=regression: the targets of data are classes (whole numbers, booleans or text); "
        "choose task=classification, or write them as floats"
    )
    assert complaint(model=own.Net, data=LABELLED, task="language_modeling") == (
        "data=given: serves task=classification, regression, not task=language_modeling"
    )


def test_objects_go_on_where_they_are_asked_to(own: Any, tmp_path: Path) -> None:
    """A run that is cut short and goes on is the run that was not, bitwise."""
    from prsgd.run_folder import RunFolder

    options = {"model": own.Net, "data": LABELLED, **KEYS, "checkpoint_seconds": 0, "processes": 1}
    whole = prsgd.train(**options)
    cut = prsgd.train(**options).folder
    [*_, last] = sorted((cut / "checkpoint").iterdir())
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    RunFolder(cut).set_status("interrupted", "SIGINT at step 7")
    assert complaint(**{**options, "resume": cut, "interval": 5}) == (
        f"resume={cut}: algorithm.interval was 4 and is 5; only what does not decide the curve "
        "may change"
    )
    other = (X[:100] + 1, CLASSES[:100]), LABELLED[1]
    assert complaint(**{**options, "resume": cut, "data": other}) == (
        f"{cut}: the data have changed since it was started"
    )
    auto = prsgd.train(**{**options, "precision": "auto", "out": "auto"}).folder
    assert prsgd.train(**{**options, "precision": "auto", "resume": auto}).folder == auto
    wider = own.Net(5, 2, width=9)
    line = complaint(**{**options, "resume": cut, "model": wider})
    assert line.startswith(f"resume={cut}: model.digest was - and is "), line
    assert complaint(resume=cut, model=own.Net, data=LABELLED, loss=own.absolute) == (
        f"resume={cut}: task.criterion was auto and is absolute; only what does not decide the "
        "curve may change"
    )
    gone_on = prsgd.train(**options, resume=cut)
    assert gone_on.folder == cut
    assert table(whole.folder).equals(table(cut))
    assert prsgd.train(**options, resume=cut).metrics.equals(gone_on.metrics)


def test_a_record_of_objects_says_so_elsewhere(
    own: Any, prsgd_command: Command, tmp_path: Path
) -> None:
    from prsgd.run_folder import RunFolder

    result = prsgd.train(model=own.Net, data=LABELLED, **KEYS, processes=1)
    RunFolder(result.folder).set_status("interrupted", "SIGINT at step 7")
    shown = prsgd_command("run", str(result.folder))
    assert shown.returncode == 2
    assert shown.stderr == (
        "prsgd: model=Net: was an object of Python's; prsgd.train(model=Net, ..., resume=FOLDER) "
        "goes on with it\n"
    )
    RunFolder(result.folder).set_status("done")
    drawn = prsgd_command("figures", "runs")
    assert drawn.returncode == 0, drawn
    assert "runs/figures/data-net" in drawn.stdout


def test_a_folder_is_resumed_by_itself() -> None:
    from prsgd.run_folder import RunFolder

    result = prsgd.train(prsgd.compose(*SMALL, "processes=1"))
    RunFolder(result.folder).set_status("interrupted", "SIGINT at step 20")
    again = prsgd.train(resume=result.folder)
    assert again.status == "done"
    assert complaint(resume="nowhere") == ("nowhere is not a run folder: it has no config.yaml")


def test_keys_of_a_whole_part_are_not_swallowed(own: Any) -> None:
    """Where data are objects, keys may still say who draws which."""
    options = {"model": own.Net, "data": LABELLED, **KEYS, "processes": 1}
    result = prsgd.train(**options, **{"data.partition": "by_label"})
    assert result.run.data.partition == "by_label"
    assert "partition: by_label" in (result.folder / "config.yaml").read_text()
    run = prsgd.compose(
        "data=digits", "data.partition=by_label", "model=mlp", "workers=2", "epochs=1"
    )
    assert prsgd.train(run, data=LABELLED).run.data.partition == "by_label"
    assert complaint(**options, **{"data.crop": 7}) == (
        "data.crop: cannot be given here, as the data is an object"
    )
    assert complaint(**options, **{"model.width": 7}) == (
        "model.width: cannot be given here, as the model is an object"
    )


def test_a_task_of_ones_own_takes_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "scripts/own", tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    keys = ("plugins=[mine]", "task=denoising", "task.noise=0.3", "model=two_layers", "data=waves")
    sizes = ("workers=2", "batch_size=8", "epochs=1", "processes=1")
    result = prsgd.train(prsgd.compose(*keys, *sizes, config_dir="conf"), data=LABELLED)
    assert type(result.run.task) is sys.modules.pop("mine").Denoising
    assert result.run.task.noise == 0.3
    assert "_target_: mine.Denoising" in (result.folder / "config.yaml").read_text()


def test_a_mapping_of_numbers_reaches_a_fresh_interpreter(own: Any) -> None:
    keys = {**KEYS, "workers": 4, "interval": 8, "algorithm.levels": {2: 2, 4: 4}}
    result = prsgd.train(
        model=own.Net, data=LABELLED, algorithm="hierarchical", processes=2, **keys
    )
    assert result.status == "done"


def test_what_is_tried_is_the_loss_too() -> None:
    """One that is no scalar is refused before anything is written."""
    line = complaint(model="mlp", data=LABELLED, loss=torch.nn.CrossEntropyLoss(reduction="none"))
    assert line == (
        "loss: the loss has the shape (2,); it must be one number without an axis, such as a mean"
    )
    assert not Path("runs").exists()
    own_loss = torch.nn.CrossEntropyLoss()
    own_loss.temperature = torch.nn.Parameter(torch.ones(1))
    assert complaint(model="mlp", data=LABELLED, loss=own_loss) == (
        "loss: has parameters of its own, which would not be trained; make them a part of the model"
    )


def test_a_loss_that_draws_is_a_function_of_the_seed() -> None:
    def noisy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        losses = torch.nn.functional.cross_entropy(output, target, reduction="none")
        if not output.requires_grad:
            return losses.mean()
        return (losses * (torch.rand(len(target)) < 0.5)).mean()

    options = {"model": "mlp", "data": LABELLED, "loss": noisy, **KEYS, "processes": 1}
    with nothing_changed():
        results = [prsgd.train(**options) for _ in range(2)]
    assert table(results[0].folder).equals(table(results[1].folder))


def test_modules_of_one_name_are_not_one_run() -> None:
    narrow = torch.nn.Sequential(torch.nn.Linear(5, 2))
    wide = torch.nn.Sequential(torch.nn.Linear(5, 9), torch.nn.Linear(9, 2))
    for model in (narrow, wide, lambda: torch.nn.Linear(5, 2), lambda: torch.nn.Linear(5, 3)):
        prsgd.train(model=model, data=LABELLED, **KEYS, processes=1)
    assert prsgd.load_runs().run.nunique() == 4


@pytest.mark.parametrize("processes", [1, 2])
def test_threads_are_as_they_were(processes: int, own: Any) -> None:
    torch.set_num_threads(2)
    with nothing_changed():
        prsgd.train(model=own.Net, data=LABELLED, processes=processes, **KEYS)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.05), "0.05"),
        (np.int64(3), "3"),
        (True, "true"),
        (None, "null"),
        ("diloco", "diloco"),
        ("2024_11", "'2024_11'"),
        ("it's", r"'it\'s'"),
        ("null", "'null'"),
        ("True", "'True'"),
        ("a\\", r"'a\\'"),
        ("runs/lr-0.1", "runs/lr-0.1"),
        ([1, "a b"], "[1,'a b']"),
        ({2: 4}, "{2:4}"),
    ],
)
def test_values_of_python_keep_their_types(value: Any, text: str) -> None:
    from prsgd.config.grammar import in_grammar

    assert in_grammar(value) == text


def test_a_result_outlives_a_change_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = prsgd.train(prsgd.compose(*SMALL, "processes=1"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(result.metrics) == 2
    assert result.model() is not result.model()
    assert len({result, result}) == 1


def test_what_a_fresh_interpreter_cannot_import_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is found, but its file fails there."""
    (tmp_path / "moody.py").write_text(
        "import sys\nfrom torch import nn\nif 'pytest' not in sys.modules:\n"
        "    raise OSError('not today')\n\n\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(5, 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import moody

    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # which Python ignores
    assert complaint(model=moody.Net, data=LABELLED, processes=2) == (
        "a fresh interpreter cannot import moody:Net (OSError: not today); processes=1 trains here"
    )
    del sys.modules["moody"]


STOPPED = """
import signal, sys, prsgd
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
prsgd.train(prsgd.compose(*sys.argv[1:]))
"""


@pytest.mark.dist
def test_an_exit_of_the_program_ends_its_processes(tmp_path: Path) -> None:
    arguments = (*SMALL, "processes=2", "epochs=20000")
    (tmp_path / "script.py").write_text(STOPPED)
    command = [sys.executable, "-u", "script.py", *arguments]
    piped: Any = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **piped) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGTERM)
                break
        process.stdout.read()
        assert process.wait(60) == 7
    [folder] = (tmp_path / "runs").iterdir()
    assert '"interrupted"' in (folder / "status.json").read_text()


def test_a_functions_digest_is_the_same_in_every_interpreter(tmp_path: Path) -> None:
    """So that the same program finds its run again: no address and no order of a hash is in it."""
    (tmp_path / "makers.py").write_text(
        "from functools import partial\n"
        "from torch import nn\n"
        "def layers(count=3):\n"
        "    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(count)])\n"
        "def chosen(kind='a'):\n"
        "    return nn.Linear(4, 4) if kind in {'a', 'b', 'c'} else nn.Identity()\n"
        "def other():\n"
        "    return nn.Sequential(*[nn.Linear(4, 5) for _ in range(3)])\n"
        "class Maker:\n"
        "    def __call__(self):\n"
        "        return layers()\n"
        "makers = layers, chosen, partial(layers, 2), partial(layers, count=2), other, Maker()\n"
    )
    program = (
        "from makers import makers; from prsgd.models.given import given; "
        "print(*(given(make).digest for make in makers))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert len({*found[0].split()}) == 6
