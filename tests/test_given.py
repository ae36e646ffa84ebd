"""Samples that are objects of Python's: what they become, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Trainer, part
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from prsgd.config.build import build_run
from prsgd.config.schema import Run
from prsgd.data.cache import prepare
from prsgd.data.given import Given, given
from prsgd.errors import UserError

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 2
TEST = X[:8], Y[:8]


class Items(Dataset[Any]):
    """Whatever items, each counted when it is read."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([])


def run_on(data: Given) -> Run:
    return build_run(
        {
            "workers": 2,
            "batch_size": 4,
            "lr": 0.1,
            "epochs": 2,
            "precision": "fp32",
            "threads": 1,
            "algorithm": part("prsgd"),
            "model": part("mlp", width=8),
            "schedule": part("constant"),
            "task": {"name": data.suits()},
            "data": {"name": "given", **vars_of(data)},
        }
    )


def vars_of(data: Given) -> dict[str, Any]:
    return {name: value for name, value in vars(data).items() if name != "arrays"}


PAIRS = [(torch.from_numpy(x), int(y)) for x, y in zip(X, Y, strict=True)]
FORMS: dict[str, Any] = {
    "arrays": (X, Y),
    "tensors": (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y)),
    "columns": (pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(Y)),
    "TensorDataset": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "Dataset": Items(PAIRS),
    "a list of items": PAIRS,
    "float64": (X.astype(np.float64), Y.astype(np.int8)),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_data(form: str) -> None:
    data, same = given((FORMS[form], TEST)), given(((X, Y), TEST))
    assert data == same
    found = data.read(Path(), lambda items, n: iter(items)).arrays
    np.testing.assert_array_equal(found["train_x"], X)
    np.testing.assert_array_equal(found["train_y"], Y)
    np.testing.assert_array_equal(found["test_x"], X[:8])
    np.testing.assert_array_equal(found["test_y"], Y[:8])
    assert [str(array.dtype) for array in found.values()] == ["float32", "int64"] * 2


def test_items_are_read_once() -> None:
    items = Items(PAIRS)
    data = given((items, TEST))
    data.samples()
    assert items.read == [*range(20)]


def test_what_is_told_without_the_samples() -> None:
    data = pickle.loads(pickle.dumps(given(((X, Y), TEST), "mine")))
    assert "arrays" not in vars(data)
    assert (data.train_samples(), data.outline().test, data.name()) == (20, 8, "mine")
    assert data.facts() == {"features": 3, "shape": [3], "outputs": 2, "classes": 2}
    assert data.suits() == "classification"
    assert data.found() == "20 + 8 samples, 3 features, 2 classes"
    floats = given(((X, X[:, :2]), (X, X[:, :2])))
    assert floats.suits() == "regression"
    assert floats.facts() == {"features": 3, "shape": [3], "outputs": 2}


def test_the_content_is_that_of_the_arrays() -> None:
    """Bytes, types and shapes count, and the label does not."""
    base = given(((X, Y), TEST)).fingerprint()
    assert given(((X, Y), TEST), "mine").fingerprint() == base
    wide = X.reshape(20, 1, 3)
    others = [
        ((X + 1, Y), TEST),
        ((X, 1 - Y), TEST),
        ((X, Y), (X[:7], Y[:7])),
        ((wide, Y), (wide[:8], Y[:8])),
        ((X, Y.astype(float)), (X[:8], Y[:8].astype(float))),
    ]
    assert len({base, *(given(data).fingerprint() for data in others)}) == 6


def test_images_have_their_channels_first() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    items = [(Image.fromarray(image), n % 2) for n, image in enumerate(pixels)]
    data = given((items, items))
    np.testing.assert_array_equal(data.samples().x_train, pixels.transpose(0, 3, 1, 2))
    assert data.outline().dtype == "uint8"
    grey = [(Image.fromarray(image[..., 0]), 0) for image in pixels]
    assert given((grey, grey)).facts()["shape"] == [1, 5, 6]


def test_half_precision() -> None:
    half = torch.from_numpy(X).bfloat16()
    data = given(((half, Y), (half, Y)))
    np.testing.assert_array_equal(data.samples().x_train, half.float().numpy())


def test_a_run_and_its_record(cache: Path, train_here: Trainer) -> None:
    """The run trains; its record describes the data, and goes on while the cache has them."""
    data = given(((X, Y), TEST), "mine")
    run = run_on(data)
    assert run.data == data
    assert build_run(run.as_dict()) == run
    told = build_run(run.as_dict()).data
    with pytest.raises(UserError) as refusal:
        prepare(told, cache, lambda items, n: iter(items))
    assert str(refusal.value) == (
        "data: mine was made of objects of Python's, which a record does not hold; "
        "prsgd.train(..., data=(train, test), resume=FOLDER) goes on with it"
    )
    path = prepare(data, cache, lambda items, n: iter(items))
    assert prepare(told, cache, lambda items, n: iter(items)) == path
    assert data.located().read(Path(), lambda items, n: iter(items)).arrays
    status, folder = train_here(run)
    assert status == "done"
    assert folder.config()["data"] == {"name": "given", **vars_of(data)}
    assert "test_accuracy" in folder.last_metrics()


ITEM = "a Dataset of (x, y) items, or a pair (x, y) of arrays"
REFUSED: dict[str, tuple[Any, str]] = {
    "one": (X, "data: must be (train, test), not ndarray"),
    "three": ((TEST, TEST, TEST), "data: must be (train, test), not tuple"),
    "parts": (((X, Y, Y), TEST), f"data: train has 3 parts; it must be {ITEM}"),
    "number": ((3, TEST), f"data: train, of type int, is no data; it must be {ITEM}"),
    "mapping": (
        ({"x": X, "y": Y}, TEST),
        "data: train, of type dict, has no items that can be asked for by number; it must be "
        f"{ITEM}",
    ),
    "loader": (
        (DataLoader(Items(PAIRS)), TEST),
        "data: train, of type DataLoader, has no items that can be asked for by number; it must "
        f"be {ITEM}",
    ),
    "stream": (
        (Stream(), TEST),
        f"data: train, of type Stream, has no length; it must be {ITEM}",
    ),
    "dicts": (
        (TEST, Items([{"x": X[0], "y": 1}])),
        "data: item 0 of test is a dict; it must be a pair (x, y)",
    ),
    "triples": (
        (Items([*PAIRS, (X[0], 1, 2)]), TEST),
        "data: item 20 of train is a tuple of 3; it must be a pair (x, y)",
    ),
    "ragged": (
        (Items([*PAIRS, (X[0][:2], 1)]), TEST),
        "data: x of item 20 of train has the shape (2,), and those before it (3,)",
    ),
    "empty": ((Items([]), TEST), f"data: train is empty; it must be {ITEM}"),
    "broken": (
        (pd.DataFrame({"a": [1, 2]}), TEST),
        "data: item 0 of train cannot be read (KeyError: 0)",
    ),
    "lengths": (((X, Y[:5]), TEST), "data: x of train has 20 samples and y of train 5"),
    "nan": ((TEST, (X * np.nan, Y)), "data: x of test[0] is not finite in float32"),
    "text": (
        ((X, ["a"] * 20), TEST),
        "data: y of train has the type <U1; it must be of numbers",
    ),
    "lists": (
        (([[1.0], [1.0, 2.0]], [0, 1]), TEST),
        "data: x of train is no array (setting an array element with a sequence. The requested "
        "array has an inhomogeneous shape after 1 dimensions. The detected shape was (2,) + "
        "inhomogeneous part.)",
    ),
    "shapes": (
        ((X[:, :2], Y), TEST),
        "data: x of train has float32 of shape (2,) for each sample and x of test float32 of "
        "shape (3,); they must be alike",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        given(data)
    assert str(refusal.value) == message
