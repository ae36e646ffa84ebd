"""Digests of Python's objects, by which records tell apart what has the same name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

NONE = "-"  # of what goes by its name


def digest_of_object(source: Any) -> str:
    """8 digits of what an object consists of; a class goes by its name."""
    return NONE if isinstance(source, type) else _digits(_text(source))


def digest_of_model(source: Any) -> str:
    """The same of what is or makes a model. The numbers that a module starts at do not count.

    They differ as with another seed, where nobody has chosen them.
    """
    from torch import nn

    if not isinstance(source, nn.Module):
        return digest_of_object(source)
    about, layers, state = _of_module(source)
    return _digits(_text((about, layers, {name: _shape(own) for name, own in state.items()})))


def _digits(text: str) -> str:
    everywhere = re.sub(" at 0x[0-9a-f]+", "", text)
    return hashlib.sha256(everywhere.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _text(value: Any, above: tuple[int, ...] = ()) -> str:
    """An object as text, in an order that no hash decides; `above` are those that it is part of."""
    if id(value) in above:
        return "..."
    parts = _parts(value)
    if isinstance(parts, str):
        return parts
    texts = [_text(part, (*above, id(value))) for part in parts]
    if isinstance(value, dict | set | frozenset):
        texts.sort()
    return f"{_kind(value)}({', '.join(texts)})"


def _parts(value: Any) -> Sequence[Any] | str:
    """What an object consists of, or its text."""
    import numpy as np
    from torch import Tensor, nn

    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, CodeType):
        return value.co_code, value.co_consts, value.co_names
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        return value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, CellType):
        return _content(value)
    if isinstance(value, MethodType):
        owner = value.__self__
        return value.__func__, owner, getattr(owner, "__dict__", None)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, tuple | list | set | frozenset):
        return [*value]
    if isinstance(value, dict):
        return [*value.items()]
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, nn.Module):
        return _of_module(value)
    if hasattr(value, "__dict__") and (callable(value) or is_dataclass(value)):
        return [vars(value)]
    try:
        return repr(value)
    except Exception:  # of whatever an object's own repr raises
        return _kind(value)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _content(cell: CellType) -> tuple[Any, ...]:
    """What a function's variable from outside holds; nothing where it is not set yet."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _of_tensor(tensor: Tensor) -> Sequence[Any] | str:
    import torch

    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        numbers = plain.reshape(-1).view(torch.uint8).numpy()
        return str(plain.dtype), tuple(plain.shape), hashlib.sha256(numbers.data).hexdigest()
    except (RuntimeError, TypeError, ValueError):  # it has no numbers, or is sparse
        return _kind(tensor)


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    from torch.nn.parameter import is_lazy

    return (str(tensor.dtype), *(() if is_lazy(tensor) else tensor.shape))


def _of_module(module: nn.Module) -> tuple[str, Sequence[Any], dict[str, Any]]:
    """Its layers, their attributes, and all parameters and buffers."""
    from torch import nn

    torchs = vars(nn.Module())
    layers = [
        (name, _kind(layer), {key: own for key, own in vars(layer).items() if key not in torchs})
        for name, layer in module.named_modules()
    ]
    return str(module), layers, {**dict(module.named_buffers()), **module.state_dict()}
