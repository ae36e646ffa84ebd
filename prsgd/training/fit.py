"""What rows cannot hold of a module of a user's own."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


class Misfit(Exception):
    """Why rows cannot train a module, in a line."""


def label(path: str, module: nn.Module) -> str:
    """A module's path in the model and its class, as in `encoder.norm (BatchNorm1d)`."""
    return f"{path or 'the model'} ({type(module).__name__})"


def misfits(model: nn.Module) -> Iterator[str]:
    """What rows cannot hold of the model, each in a line that names the module."""
    found: dict[int, tuple[str, Tensor]] = {}  # address -> what lies there first
    for path, module in model.named_modules():
        part = label(path, module)
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                continue
            if wrong := _wrong_tensor(module, tensor):
                yield f"{part}: {name} {wrong}"
                continue
            first, there = found.setdefault(
                tensor.data_ptr(), (f"{path}.{name}".lstrip("."), tensor)
            )
            is_one = there is tensor or not tensor.numel()
            if not is_one and any(isinstance(t, nn.Parameter) for t in (there, tensor)):
                yield (
                    f"{part}: {name} lies in the memory of {first}, and they would come apart; "
                    "use the same Parameter in both places"
                )
        yield from _odd_modules(part, module)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        yield f"{label('', model)} has no parameters to train"


def _wrong_tensor(module: nn.Module, tensor: Tensor) -> str:
    if is_lazy(tensor):
        return "has no shape after a forward pass; give the layer the size of its input"
    if tensor.device.type != "cpu":
        return f"is on the device {tensor.device.type}; build it on the CPU, and it is moved"
    if tensor.layout != torch.strided:
        return f"is {str(tensor.layout).removeprefix('torch.')}; it must be dense"
    dtype = str(tensor.dtype).removeprefix("torch.")
    is_statistic = isinstance(module, _BatchNorm) and tensor.is_floating_point()
    if isinstance(tensor, nn.Parameter) or is_statistic:
        return "" if tensor.dtype == torch.float32 else f"is {dtype}; it must be float32"
    try:
        save({"": torch.empty(0, dtype=tensor.dtype)})
    except KeyError:
        return f"is {dtype}, which checkpoints cannot hold"
    return ""


def _odd_modules(part: str, module: nn.Module) -> Iterator[str]:
    """What a module keeps that is neither a parameter nor a buffer, or sends on its own."""
    for name, value in vars(module).items():
        if isinstance(value, GENERATORS):
            yield (
                f"{part}: {name} is a generator of its own, which a resumed run would not have; "
                "draw from torch's, NumPy's or Python's global one"
            )
    if type(module).get_extra_state is not nn.Module.get_extra_state:
        yield f"{part} has extra state, which checkpoints cannot hold; keep it in buffers"
    if isinstance(module, nn.SyncBatchNorm) and type(module) is not nn.SyncBatchNorm:
        yield f"{part} is a SyncBatchNorm that may send; use BatchNorm2d or the like"
