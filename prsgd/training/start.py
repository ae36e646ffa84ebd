"""A module filled from a file of weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from prsgd.config.schema import Run
from prsgd.config.start import WEIGHTS, located
from prsgd.errors import UserError
from prsgd.files import home_expanded
from prsgd.training.buffers import move

SHOWN = 3  # names in an error
COUNTER = "num_batches_tracked"  # of BatchNorm, which rows drop where nothing reads it


def fill(module: nn.Module, run: Run) -> None:
    """Give the module the weights and buffers of the run's start.

    A UserError if the file lacks names of the module's state_dict or has others, if shapes or kinds
    of numbers differ, or if numbers are not finite where the module's are. Floating-point numbers
    are converted to the module's type.
    """
    path = home_expanded("start", located(run).start)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"start={path}: it cannot be read ({error}); it must be {WEIGHTS}"
        ) from error
    move(module, torch.device("cpu"))  # a buffer may be spread, and takes no numbers then
    if wrong := next(_misfits(module.state_dict(), found, run.model.title), ""):
        raise UserError(f"start={path}: {wrong}")
    module.load_state_dict(found, strict=False)


def _misfits(state: Mapping[str, Tensor], found: Mapping[str, Tensor], model: str) -> Iterator[str]:
    """What of a file does not fit the model's state, each in a line."""
    tied: dict[tuple[int, ...], list[str]] = {}  # names in the file, by what they are in the model
    for name in state.keys() & found.keys():
        tied.setdefault(_place(state[name]), []).append(name)
    missing = [
        name
        for name, own in state.items()
        if name not in found and _place(own) not in tied and not name.endswith(COUNTER)
    ]
    others = [name for name in found if name not in state]
    if missing:
        yield f"it lacks {_listed(missing)} of {model}"
    if others:
        yield f"it has {_listed(others)}, which {model} has not"
    for name, own in state.items():
        if name in found:
            yield from _misfit(name, own, found[name], model)
    for first, *more in tied.values():
        for name in more:
            if not torch.equal(found[first], found[name]):
                pair = " and ".join(sorted((first, name)))
                yield f"{pair} differ, and are one tensor in {model}"


def _misfit(name: str, own: Tensor, value: Tensor, model: str) -> Iterator[str]:
    if value.shape != own.shape:
        yield f"{name} has shape {(*value.shape,)}, and {(*own.shape,)} in {model}"
    elif value.dtype != own.dtype and not (own.is_floating_point() and value.is_floating_point()):
        yield f"{name} is {_type(value)}, and {_type(own)} in {model}"
    elif bool((own.isfinite() & ~value.to(own.dtype).isfinite()).any()):
        yield f"{name} has numbers that are not finite in {_type(own)}"


def _place(tensor: Tensor) -> tuple[int, ...]:
    """Equal for tensors that are one; those without numbers lie nowhere."""
    return (tensor.data_ptr() or id(tensor), *tensor.shape, *tensor.stride())


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(names: Collection[str]) -> str:
    """How many tensors, and the first of their names."""
    first = [*names][:SHOWN]
    dots = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({', '.join(first)}{dots})"
