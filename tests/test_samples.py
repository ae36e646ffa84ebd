"""Samples and targets of one's own: arrays in an .npz file, tables, and the two tasks on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command, Trainer, bound, cut_short, drawn, part
from safetensors.numpy import load_file
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.config.build import build_run
from prsgd.config.schema import Run
from prsgd.data.npz import NPZ
from prsgd.data.table import Table
from prsgd.errors import UserError
from prsgd.models import MLP, Model
from prsgd.tasks.chunks import chunks
from prsgd.tasks.regression import Regression
from prsgd.training.module import build_module

RNG = np.random.default_rng(0)
N, TESTED, FEATURES = 60, 24, 5
X, X_TEST = RNG.normal(size=(N, FEATURES)), RNG.normal(size=(TESTED, FEATURES))
WEIGHTS = RNG.normal(size=FEATURES)
ARRAYS = {
    "x_train": X,
    "y_train": np.arange(N) % 3,
    "x_test": X_TEST,
    "y_test": np.arange(TESTED) % 3,
}
FLOATS = {"y_train": X @ WEIGHTS + 1.0, "y_test": X_TEST @ WEIGHTS + 1.0}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes an .npz file: that of ARRAYS, but for what is given; None leaves an array out."""

    def save(**arrays: Any) -> Path:
        path = tmp_path / "own.npz"
        found = {name: array for name, array in {**ARRAYS, **arrays}.items() if array is not None}
        np.savez(path, **found)
        return path

    return save


Saved = Callable[..., Path]


def run_on(path: Path, task: str = "classification", **values: Any) -> Run:
    data = {"name": "npz", "root": str(path), **values.pop("data", {})}
    return build_run(
        {
            "workers": 2,
            "interval": 3,
            "batch_size": 4,
            "lr": 0.05,
            "epochs": 2,
            "weight_decay": 0.0,
            "precision": "fp32",
            "threads": 1,
            "algorithm": part("prsgd", interval=3),
            "model": part("mlp", width=8),
            "schedule": part("constant"),
            "task": {"name": task},
            "data": data,
            **values,
        }
    )


@pytest.mark.parametrize(
    ("stored", "trained", "values"),
    [
        ("uint8", torch.float32, lambda x: x / 255),
        ("int32", torch.int64, lambda x: x),
        ("bool", torch.float32, lambda x: x),
        ("float64", torch.float32, lambda x: x),
        ("float16", torch.float32, lambda x: x),
    ],
)
def test_a_batch_is_made_of_the_files_samples(
    saved: Saved, cache: Path, stored: str, trained: torch.dtype, values: Callable[[Any], Any]
) -> None:
    """Every sample of a pass once, in the type that is trained on, with its own class."""
    x = np.arange(N * 6).reshape(N, 2, 3)
    x = (x % 2 if stored == "bool" else x % 256).astype(stored)
    task = bound(run_on(saved(x_train=x, x_test=x[:TESTED])), cache)
    batches = [task.batch([0, 1], [draw, draw]) for draw in range(N // 8)]
    samples = torch.cat([x.flatten(0, 1) for x, _ in batches])
    classes = torch.cat([y.flatten() for _, y in batches])
    assert samples.dtype == trained
    expected = values(x.astype("int64" if trained == torch.int64 else "float32"))
    found = {(tuple(s.ravel()), int(c)) for s, c in zip(samples.numpy(), classes, strict=True)}
    everything = {
        (tuple(s.ravel()), c) for s, c in zip(expected, ARRAYS["y_train"].tolist(), strict=True)
    }
    assert len(samples) == 56
    assert found <= everything
    if stored != "bool":
        assert len(found) == 56


def test_a_draw_is_a_pure_function(saved: Saved, cache: Path) -> None:
    path = saved()
    one, two, other = (bound(run_on(path, seed=seed), cache) for seed in (0, 0, 1))
    for worker, draw in ((1, 40), (0, 0), (1, 40)):
        for mine, same in zip(drawn(one, worker, draw), drawn(two, worker, draw), strict=True):
            assert torch.equal(mine, same)
    assert not torch.equal(drawn(one, 0, 0)[0], drawn(other, 0, 0)[0])


@pytest.mark.parametrize("partition", ["iid", "contiguous", "dirichlet", "by_label"])
def test_workers_draw_from_their_own_parts(saved: Saved, cache: Path, partition: str) -> None:
    x = np.arange(N)[:, None].astype(float)
    path = saved(x_train=x, x_test=x[:TESTED])
    task = bound(run_on(path, data={"partition": partition}, batch_size=6), cache)
    parts = [{int(v) for d in range(5) for v in drawn(task, w, d)[0].flatten()} for w in (0, 1)]
    assert parts[0] | parts[1] == set(range(N))
    assert not parts[0] & parts[1]
    if partition == "contiguous":
        assert parts[0] == set(range(30))
    if partition == "by_label":
        assert {n % 3 for n in parts[0]} == {0, 1}


def outputs(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """What an MLP makes of samples, in float64."""
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in model.parameters())
    found: np.ndarray = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    return found


def evaluated(run: Run, cache: Path, model: nn.Module, split: str = "test") -> dict[str, float]:
    task = bound(run, cache)
    with torch.inference_mode():
        sums = torch.stack([task.evaluate(model, chunk) for chunk in task.chunks(split)])
    assert sums.dtype == torch.float64
    return task.summary(sums.sum(0))


def test_the_sample_that_is_judged_never_changes() -> None:
    """It is the one that released runs of images were judged on."""
    [(x, y)] = chunks(torch.arange(10), torch.arange(10), 4)
    assert x.tolist() == y.tolist() == [1, 3, 4, 6]


def test_classification_is_judged_as_numpy_does(saved: Saved, cache: Path) -> None:
    """600 test samples are three chunks, the last one smaller."""
    x, y = RNG.normal(size=(600, FEATURES)), RNG.integers(0, 3, 600)
    run = run_on(saved(x_test=x, y_test=y))
    model = run.build_model()
    logits = outputs(model, x.astype(np.float32))
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(600), y]
    found = evaluated(run, cache, model)
    assert found == {
        "loss": pytest.approx(losses.mean(), rel=1e-5),
        "accuracy": pytest.approx((logits.argmax(1) == y).mean()),
    }
    few = replace(run, evaluate_samples=100)
    assert [len(y) for _, y in bound(few, cache).chunks("test")] == [100]
    assert [len(y) for _, y in bound(run, cache).chunks("test")] == [250, 250, 100]


@pytest.mark.parametrize("targets", [(), (1,), (3,), (2, 2)])
def test_regression_is_judged_as_scikit_learn_does(
    saved: Saved, cache: Path, targets: tuple[int, ...]
) -> None:
    """R² about each target's own mean, which may be large beside what varies."""
    x, y = RNG.normal(size=(600, FEATURES)), 1000 + RNG.normal(size=(600, *targets))
    train = 1000 + RNG.normal(size=(N, *targets))
    run = run_on(saved(y_train=train, x_test=x, y_test=y), "regression")
    model = run.build_model()
    y = y.astype(np.float32).reshape(600, -1).astype(float)
    with torch.no_grad():
        model[3].bias += 1000
    predicted = outputs(model, x.astype(np.float32))
    found = evaluated(run, cache, model)
    assert found["loss"] == pytest.approx(((predicted - y) ** 2).mean(), rel=1e-4)
    expected = r2_score(y, predicted, multioutput="variance_weighted")
    assert found["r2"] == pytest.approx(expected, rel=1e-4)


def test_r2_of_targets_that_vary_little(saved: Saved, cache: Path) -> None:
    """Beside 2 million a variance of 1 is lost in sums of squares, unless they are centred."""
    x, y = RNG.normal(size=(600, FEATURES)), 2e6 + RNG.normal(size=600)
    run = run_on(saved(y_train=2e6 + RNG.normal(size=N), x_test=x, y_test=y), "regression")
    model = run.build_model()
    with torch.no_grad():
        model[3].bias += 2e6
        predicted = model(torch.from_numpy(x).float()).double().numpy()[:, 0]
    expected = r2_score(y.astype(np.float32).astype(float), predicted)
    assert evaluated(run, cache, model)["r2"] == pytest.approx(expected, rel=1e-3)


def test_r2_of_constant_targets(saved: Saved, cache: Path) -> None:
    run = run_on(saved(**FLOATS | {"y_test": np.full(TESTED, 7.3)}), "regression")
    model = run.build_model()
    assert evaluated(run, cache, model)["r2"] == 0
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model[3].bias += np.float32(7.3)
    assert evaluated(run, cache, model)["r2"] == 1


def test_a_loss_of_ones_own(saved: Saved, cache: Path) -> None:
    """It is trained on and evaluated, by its mean; the metric stays."""
    run = run_on(saved(**FLOATS), "regression")
    model = run.build_model()
    r2 = evaluated(run, cache, model)["r2"]
    task: Any = run.task
    task.give(F.l1_loss)
    x, y = drawn(bound(run, cache), 0, 0)
    expected = np.abs(outputs(model, x.numpy())[:, 0] - y.numpy()).mean()
    assert bound(run, cache).loss(model, (x, y)).item() == pytest.approx(expected, rel=1e-5)
    assert run.task.loss(model, (x, y)).item() == pytest.approx(expected, rel=1e-5)
    errors = np.abs(outputs(model, X_TEST.astype(np.float32))[:, 0] - FLOATS["y_test"])
    found = evaluated(run, cache, model)
    assert found == {"loss": pytest.approx(errors.mean(), rel=1e-5), "r2": r2}
    assert task.criterion == "l1_loss"
    assert type(task)().given is None
    with pytest.raises(UserError) as caught:
        type(task)(criterion="l1_loss").samples(run.data)
    assert str(caught.value) == (
        "task.criterion=l1_loss: must be auto; a loss of your own is given in Python, as in "
        "prsgd.train(..., loss=l1_loss)"
    )


@dataclass
class Linear(Model):
    """Without a hidden layer, and with as many outputs as it is told."""

    outputs: int = 1

    @property
    def title(self) -> str:
        return "linear"

    def build(self, features: int) -> nn.Module:
        return nn.Linear(features, self.outputs)


def test_local_sgd_of_a_linear_regression_against_numpy(
    saved: Saved, cache: Path, train_here: Trainer
) -> None:
    """Two workers, three local steps between averagings: the same parameters to 1e-5."""
    run = replace(run_on(saved(**FLOATS), "regression"), model=Linear())
    task = bound(run, cache)
    start = build_module(run, False).module
    w, b = (p.detach().double().numpy().squeeze() for p in start.parameters())
    ws, bs = [w.copy(), w.copy()], [b.copy(), b.copy()]
    for t in range(1, 16):
        for i in (0, 1):
            x, y = (tensor.double().numpy() for tensor in drawn(task, i, t - 1))
            error = x @ ws[i] + bs[i] - y
            ws[i] = ws[i] - 0.05 * 2 * error @ x / len(y)
            bs[i] = bs[i] - 0.05 * 2 * error.mean()
        if t % 3 == 0:
            ws, bs = [sum(ws) / 2] * 2, [sum(bs) / 2] * 2
    status, folder = train_here(run)
    assert status == "done"
    found = load_file(folder.path / "model.safetensors")
    np.testing.assert_allclose(found["weight"][0], ws[0], atol=1e-5)
    np.testing.assert_allclose(found["bias"], bs[0], atol=1e-5)
    assert folder.last_metrics()["test_r2"] > 0.5


def test_a_model_with_other_outputs_is_refused(saved: Saved) -> None:
    run = replace(run_on(saved(**FLOATS), "regression"), model=Linear(2))
    with pytest.raises(UserError) as refusal:
        build_module(run, False)
    assert str(refusal.value) == (
        "model: returns (2, 2) for targets (2,); it must return as many numbers for each sample "
        "(targets that are classes must be whole numbers)"
    )


def test_what_is_predicted_for_each_sample_is_its_own() -> None:
    """As many numbers in another order would be learned from as well."""
    task, y = Regression(), torch.zeros(2, 3)
    assert task.answer(torch.ones(2, 3), y).shape == (2, 3)
    assert task.answer(torch.ones(3), torch.zeros(1, 3)).shape == (1, 3)
    must = "for targets \\(2, 3\\); it must return as many numbers for each sample$"
    with pytest.raises(UserError, match=f"returns \\(3, 2\\) {must}"):
        task.answer(torch.ones(3, 2), y)
    with pytest.raises(UserError, match=f"returns a value of type dict {must}"):
        task.answer({"out": y}, y)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_resuming_changes_no_bit(saved: Saved, train_here: Trainer, task: str) -> None:
    run = run_on(saved(**(FLOATS if task == "regression" else {})), task, checkpoint_seconds=0)
    whole, parts = cut_short(train_here, run, 7)
    expected = (whole.path / "model.safetensors").read_bytes()
    assert (parts.path / "model.safetensors").read_bytes() == expected


def test_what_a_model_is_told(saved: Saved) -> None:
    image = np.zeros((N, 3, 4, 4), np.uint8)
    classes = NPZ(root=str(saved(x_train=image, x_test=image[:TESTED])))
    told = {"features": 48, "shape": [3, 4, 4], "outputs": 3, "classes": 3, "size": 4}
    assert classes.facts() == told
    assert classes.suits() == "classification"
    assert classes.found() == "60 + 24 samples, 48 features, 3 classes"
    floats = NPZ(root=str(saved(y_train=np.ones((N, 2)), y_test=np.ones((TESTED, 2)))))
    assert floats.facts() == {"features": FEATURES, "shape": [FEATURES], "outputs": 2}
    assert floats.suits() == "regression"
    assert floats.found() == "60 + 24 samples, 5 features, 2 targets"
    unseen = NPZ(root=str(saved(y_train=np.arange(N)[:, None] % 3, y_test=np.full(TESTED, 6))))
    assert unseen.facts()["classes"] == 7
    answers = {"y_train": np.arange(N) % 2 == 0, "y_test": np.zeros(TESTED, bool)}
    assert NPZ(root=str(saved(**answers))).facts()["classes"] == 2


@pytest.mark.parametrize("shape", [(4, 4, 3), (3, 4, 5), (3,), (3, 3), (1, 4, 4)])
def test_what_is_no_square_image_has_no_size(saved: Saved, shape: tuple[int, ...]) -> None:
    path = saved(x_train=np.zeros((N, *shape)), x_test=np.zeros((TESTED, *shape)))
    assert "size" not in NPZ(root=str(path)).facts()


def test_a_resnet_learns_from_images_in_a_file(saved: Saved, train_here: Trainer) -> None:
    image = RNG.integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)
    run = run_on(saved(x_train=image, x_test=image[:TESTED]), model=part("resnet", depth=8))
    status, folder = train_here(run)
    assert status == "done"
    assert "test_accuracy" in folder.last_metrics()


def test_the_perceptron_is_what_it_was() -> None:
    """The same parameters from the same draws, and the same logits to the bit; integers fit too."""
    torch.manual_seed(0)
    model = MLP(8).build(features=192, outputs=10)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 10))
    for layer in (plain[1], plain[3]):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    for (name, p), (same, q) in zip(
        model.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(p, q)
    images: Tensor = torch.rand(4, 8, 8, 3).permute(0, 3, 1, 2)
    assert torch.equal(model(images), plain(images))
    numbers = torch.arange(192)[None]
    assert torch.equal(model(numbers), plain(numbers.float()))
    assert MLP(8).build(features=1, outputs=2)(torch.rand(4)).shape == (4, 2)


WHOLE = np.arange(N)
STRANGE: dict[str, tuple[dict[str, Any], str]] = {
    "absent": ({"y_test": None}, ": lacks y_test; it has x_train, y_train, x_test"),
    "lengths": ({"y_train": WHOLE[:50]}, ": x_train has 60 samples and y_train 50"),
    "empty": ({"x_test": X_TEST[:0]}, ": x_test has the shape (0, 5); it holds no samples"),
    "number": ({"x_train": np.float64(3)}, ": x_train has the shape (); it holds no samples"),
    "shapes": (
        {"x_test": X_TEST[:, :4]},
        ": x_train has float32 of shape (5,) for each sample and x_test float32 of shape (4,); "
        "they must be alike",
    ),
    "types": (
        {"x_test": np.zeros((TESTED, FEATURES), np.uint8)},
        ": x_train has float32 of shape (5,) for each sample and x_test uint8 of shape (5,); "
        "they must be alike",
    ),
    "targets": (
        {"y_test": FLOATS["y_test"]},
        ": y_train has int64 of shape () for each sample and y_test float32 of shape (); they "
        "must be alike",
    ),
    "nan": ({"x_train": np.where(WHOLE[:, None] == 7, np.nan, X)}, ": x_train[7] is not finite"),
    "large": (
        {"x_test": np.where(np.arange(TESTED)[:, None] == 3, 1e39, X_TEST)},
        ": x_test[3] is not finite in float32",
    ),
    "text": ({"y_train": np.array(["a"] * N)}, ": y_train has the type <U1; it must be of numbers"),
    "complex": (
        {"x_train": X.astype(complex)},
        ": x_train has the type complex128; it must be of numbers",
    ),
    "objects": (
        {"x_train": np.array([{}] * N, dtype=object)},
        ": x_train cannot be read (Object arrays cannot be loaded when allow_pickle=False)",
    ),
    "negative": ({"y_train": WHOLE - 1}, ": y_train has the class -1; classes are counted from 0"),
    "one-hot": (
        {"y_train": np.eye(3, dtype=int)[WHOLE % 3]},
        ": y_train has whole numbers of shape (60, 3); it must have one class a sample, or floats "
        "to predict",
    ),
}


@pytest.mark.parametrize("case", STRANGE)
def test_arrays_that_do_not_fit(saved: Saved, case: str) -> None:
    arrays, message = STRANGE[case]
    path = saved(**arrays)
    with pytest.raises(UserError) as refusal:
        NPZ(root=str(path)).train_samples()
    assert str(refusal.value).startswith(f"data.root={path}{message}")


NPZ_FILE = "an .npz file with x_train, y_train, x_test, y_test"


def odd_files(folder: Path) -> dict[str, tuple[str, str]]:
    np.savez(folder / "own.npz", **ARRAYS)
    np.savez(folder / "floats.npz", **{**ARRAYS, **FLOATS})
    np.save(folder / "one.npy", X)
    (folder / "text.npz").write_text("no array")
    return {
        "nowhere": (
            "data=npz data.root=nowhere.npz",
            f"data.root=nowhere.npz: there is no such file; it must be {NPZ_FILE}",
        ),
        "folder": (
            "data=npz data.root=.",
            f"data.root=.: there is no such file; it must be {NPZ_FILE}",
        ),
        "text": ("data=npz data.root=text.npz", f"data.root=text.npz: must be {NPZ_FILE}"),
        "one": (
            "data=npz data.root=one.npy",
            f"data.root=one.npy: is a single array; it must be {NPZ_FILE}",
        ),
        "classes": (
            "data=npz data.root=own.npz task=regression",
            "task=regression: the targets of own.npz are classes (whole numbers, booleans or "
            "text); choose task=classification, or write them as floats",
        ),
        "floats": (
            "data=npz data.root=floats.npz",
            "task=classification: the targets of floats.npz are floats; choose task=regression, or "
            "write them as classes (whole numbers, booleans or text)",
        ),
        "images": (
            "data=npz data.root=own.npz task=image_classification",
            "data=npz: serves task=classification, regression, not task=image_classification",
        ),
        "model": (
            "data=npz data.root=own.npz model=resnet8",
            "model: ResNet-8 asks for size, and the task tells features, shape, outputs, classes; "
            "choose a model or a task that fits",
        ),
        "partition": (
            "data=npz data.root=floats.npz task=regression data.partition=by_label",
            "data.partition=by_label: must be one of shared, iid, contiguous with "
            "task=regression, which has no classes",
        ),
    }


def test_what_is_no_file_of_arrays_is_one_line(tmp_path: Path, prsgd: Command) -> None:
    for command, line in odd_files(tmp_path).values():
        done = prsgd("train", *command.split(), "device=cpu", "--dry-run")
        assert (done.returncode, done.stderr) == (2, f"prsgd: {line}\n")


def test_a_file_is_known_by_its_bytes(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved()
    before = NPZ(root=str(path)).fingerprint()
    other = saved(y_test=np.arange(TESTED) % 2)
    assert NPZ(root=str(other)).fingerprint() != before
    path = saved()
    assert NPZ(root=str(path)).content()
    monkeypatch.setattr("prsgd.data.sample_file.read_bytes", lambda path: b"changed")
    with pytest.raises(UserError) as refusal:
        NPZ(root=str(saved(y_test=np.zeros(TESTED, int)))).samples()
    assert str(refusal.value) == f"data.root={path}: it changed while it was read"


def table_of(rows: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.integers(18, 90, rows), "married": rng.random(rows) < 0.5})
    frame["income"] = rng.lognormal(10, 0.5, rows)
    frame["one"] = 0.1
    frame["price"] = 1e5 + 2e3 * frame["age"] + 3e4 * frame["married"]
    frame["kind"] = np.array(["house", "flat", "tent"])[np.arange(rows) % 3]
    return frame


def test_a_table_is_standardised_by_its_training_rows(tmp_path: Path) -> None:
    """Every sixth row is a test row. Columns and floats are standardised; text is classes."""
    path, frame = tmp_path / "own.csv", table_of()
    frame.drop(columns="price").to_csv(path, index=False)
    found = Table(root=str(path), target="kind").samples()
    test = np.arange(30) % 6 == 5
    x = frame[["age", "married", "income"]].to_numpy(float)
    x = (x - x[~test].mean(0)) / x[~test].std(0)
    np.testing.assert_allclose(found.x_train[:, :3], x[~test], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.x_test[:, :3], x[test], rtol=1e-5, atol=1e-6)
    assert not found.x_train[:, 3].any()
    classes = ["flat", "house", "tent"]
    assert [classes[c] for c in found.y_train] == frame["kind"][~test].tolist()
    assert [classes[c] for c in found.y_test] == frame["kind"][test].tolist()

    frame.drop(columns="kind").to_csv(path, index=False)
    floats = Table(root=str(path), target="price")
    price = frame["price"].to_numpy()
    price = (price - price[~test].mean()) / price[~test].std()
    np.testing.assert_allclose(floats.samples().y_test, price[test], rtol=1e-5, atol=1e-6)
    assert floats.suits() == "regression"
    whole = Table(root=str(path), target="age")
    assert whole.suits() == "classification"
    assert whole.facts()["classes"] == frame["age"].nunique()
    assert whole.fingerprint() != floats.fingerprint()
    assert Table(root=str(path), target="married").facts()["classes"] == 2


CSV = "data.root={path}: "
TABLES: dict[str, tuple[str, str]] = {
    "empty": ("", CSV + "is no CSV file (No columns to parse from file)"),
    "ragged": ("a,y\n1,2\n1,2,3,4\n", CSV + "is no CSV file (Error tokenizing data. "),
    "latin": ("caf\udce9,y\n1,2\n", CSV + "is no CSV file ('utf-8' codec can't decode "),
    "target": ("a,b\n1,2\n" * 7, "data.target=y: must be a column of the table: a, b"),
    "short": ("a,y\n1,2\n", CSV + "has 1 rows; it must have 6 or more, as every sixth is a test"),
    "alone": ("y\n" + "1\n" * 9, CSV + "has no column beside y to predict it from"),
    "text": (
        "a,b,c,y\n" + "x,1,z,1\n" * 9,
        CSV + "columns of text cannot be learned from: a, c; drop them or encode them as numbers",
    ),
    "missing": ("a,y\n1,1\n" + ",2\n" * 9, CSV + "column a has no value in row 2"),
    "unknown": ("a,y\n" + "1,2\n" * 7 + "1,\n", CSV + "column y has no value in row 8"),
    "none": (
        "a,y\n" + "1,mild\n2,None\n" * 5,
        CSV + "column y has no value in row 2; words such as NA and None count as none",
    ),
    "huge": ("a,y\n" + "1e308,1\n" * 9 + "-1e308,1\n", CSV + "x_train[0] is not finite in float32"),
    "numbered": (
        ",a,y\n" + "1,1,2\n" * 9,
        CSV + "column 1 has no name; name it, or leave it out if it numbers the rows (in pandas: "
        "to_csv(..., index=False))",
    ),
    "infinite": ("a,y\n" + "1,2\n" * 7 + "inf,1\n", CSV + "column a is infinite in row 8"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_do_not_fit(tmp_path: Path, case: str) -> None:
    content, message = TABLES[case]
    path = tmp_path / "own.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as refusal:
        Table(root=str(path), target="y").train_samples()
    assert str(refusal.value).startswith(message.format(path=path))


@pytest.mark.dist
def test_processes_do_not_matter(tmp_path: Path, prsgd: Command) -> None:
    """A table to regress on, and arrays in classes: with reduction=exact the same bits."""
    table_of(120).drop(columns="kind").to_csv(tmp_path / "own.csv", index=False)
    np.savez(tmp_path / "own.npz", **ARRAYS)
    table = ("data=table", "task=regression", "data.root=own.csv", "data.target=price")
    keys = ("workers=3", "interval=2", "batch_size=4", "epochs=2", "reduction=exact")
    for number, chosen in enumerate((table, ("data=npz", "data.root=own.npz"))):
        models, tables = [], []
        for processes in (1, 2):
            out = f"out{number}{processes}"
            place = (f"processes={processes}", f"out={out}", "threads=1", "device=cpu")
            done = prsgd("train", *chosen, *keys, *place)
            assert done.returncode == 0, done.stderr
            [folder] = (tmp_path / out).iterdir()
            models.append((folder / "model.safetensors").read_bytes())
            tables.append(pd.read_csv(folder / "metrics.csv").filter(regex="loss|test_"))
        assert models[0] == models[1]
        pd.testing.assert_frame_equal(*tables)


def test_screens_and_figures_show_what_is_measured(tmp_path: Path, prsgd: Command) -> None:
    """A table brings a model and a recipe by which it is learned."""
    table_of(600).drop(columns="kind").to_csv(tmp_path / "own.csv", index=False)
    table = ("data=table", "task=regression", "data.root=own.csv", "data.target=price")
    done = prsgd("train", *table, "device=cpu", "processes=1")
    assert done.returncode == 0, done.stderr
    assert "own.csv: 500 + 100 samples, 4 features, 1 target" in done.stdout
    assert "samples/s" in done.stdout
    assert float(done.stdout.split("test R²")[1].split(",")[0]) > 0.95
    [folder] = (tmp_path / "runs").iterdir()
    assert "skipped" in prsgd("run", str(folder)).stdout
    drawn = prsgd("figures", "--out", "figures")
    assert drawn.returncode == 0, drawn.stderr
    assert "test R²" in drawn.stdout
    assert any("R²" in svg.read_text() for svg in tmp_path.rglob("epochs.svg"))
