"""Objects of Python's become arrays: a split as a dataset, or as a pair (x, y)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prsgd.errors import UserError

if TYPE_CHECKING:
    import numpy as np

WHAT = "a Dataset of (x, y) items, or a pair (x, y) of arrays"


def arrays_of(split: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a split, called `name` in messages. `UserError` for what is no split."""
    from torch.utils.data import TensorDataset

    if isinstance(split, TensorDataset):
        split = split.tensors
    if isinstance(split, tuple):
        if len(split) != 2:
            raise UserError(f"data: {name} has {len(split)} parts; it must be {WHAT}")
        x, y = split
        return array_of(x, f"x of {name}"), array_of(y, f"y of {name}")
    return _items(split, name)


def _items(dataset: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The items of a map-style dataset, each read once."""
    import numpy as np

    if not hasattr(dataset, "__getitem__") or isinstance(dataset, str | bytes | dict):
        iterable = hasattr(dataset, "__iter__")
        why = "has no items that can be asked for by number" if iterable else "is no data"
        raise UserError(f"data: {name}, of type {type(dataset).__name__}, {why}; it must be {WHAT}")
    try:
        n = len(dataset)
    except TypeError as error:
        kind = type(dataset).__name__
        raise UserError(
            f"data: {name}, of type {kind}, has no length; it must be {WHAT}"
        ) from error
    columns: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for index in range(n):
        for part, column, value in zip("xy", columns, _pair(dataset, index, name), strict=True):
            array = array_of(value, f"{part} of item {index} of {name}")
            if column and array.shape != column[0].shape:
                raise UserError(
                    f"data: {part} of item {index} of {name} has the shape {array.shape}, and "
                    f"those before it {column[0].shape}"
                )
            column.append(array)
    if not n:
        raise UserError(f"data: {name} is empty; it must be {WHAT}")
    return np.stack(columns[0]), np.stack(columns[1])


def _pair(dataset: Any, index: int, name: str) -> tuple[Any, Any]:
    where = f"data: item {index} of {name}"
    try:
        item = dataset[index]
    except Exception as error:
        raise UserError(f"{where} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise UserError(f"{where} is a {type(item).__name__}{size}; it must be a pair (x, y)")
    return item[0], item[1]


def array_of(value: Any, name: str) -> np.ndarray:
    """An array of a tensor, a table, numbers or an image; images have their channels first."""
    import numpy as np
    import torch
    from PIL.Image import Image

    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, Image):
        pixels = np.asarray(value)
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    try:
        return np.asarray(value)
    except Exception as error:  # of ragged lists, and of whatever an object's own conversion raises
        raise UserError(f"data: {name} is no array ({error})") from error
