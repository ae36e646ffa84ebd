"""What a row can hold of a module of a user's own: parameters and BatchNorm2d's statistics."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def label(path: str, module: nn.Module) -> str:
    """A module's path in the model and its class, as in `encoder.norm (BatchNorm1d)`."""
    return f"{path or 'the model'} ({type(module).__name__})"


def misfits(model: nn.Module) -> Iterator[str]:
    """What a row cannot hold of the model, each in a line that names the module."""
    paths: dict[int, str] = {}  # address -> the first parameter that lies there
    for path, module in model.named_modules():
        part = label(path, module)
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if wrong := _wrong_parameter(parameter):
                yield f"{part}: {name} {wrong}"
                continue
            first = paths.setdefault(parameter.data_ptr(), f"{path}.{name}".lstrip("."))
            if parameter.numel() and first != f"{path}.{name}".lstrip("."):
                yield (
                    f"{part}: {name} is {first} as well; tied parameters would come apart, so give "
                    "each module its own"
                )
        yield from _wrong_buffers(part, module)
    if not paths:
        yield f"{label('', model)} has no parameters to train"


def _wrong_parameter(parameter: Tensor) -> str:
    if is_lazy(parameter):
        return "has no shape yet; give the layer the size of its input"
    if parameter.device.type != "cpu":
        return f"is on the device {parameter.device.type}; build it on the CPU, and it is moved"
    if parameter.dtype != torch.float32:
        return f"is {str(parameter.dtype).removeprefix('torch.')}; it must be float32"
    if not parameter.requires_grad:
        return "is frozen (requires_grad=False), and would be trained; let it be trained"
    return ""


def _wrong_buffers(part: str, module: nn.Module) -> Iterator[str]:
    buffers = [name for name, buffer in module._buffers.items() if buffer is not None]
    if isinstance(module, nn.BatchNorm2d):
        if buffers and module.momentum is None:
            yield f"{part} has momentum=None, under which its statistics would stay; give a number"
        buffers = [name for name in buffers if name not in STATISTICS]
    if buffers:
        yield (
            f"{part} has the buffers {', '.join(buffers)}, which would neither be averaged nor "
            "kept; use BatchNorm2d or a layer without buffers, such as GroupNorm"
        )
