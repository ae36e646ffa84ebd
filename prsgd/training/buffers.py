"""The buffers of workers' modules, but for BatchNorm's statistics, which lie in rows.

Each worker has its own. Only the consensus brings them together: what is a floating-point number is
averaged, and the rest, with the vectors of spectral normalisation, is worker 0's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from prsgd.distributed.communicator import Communicator
from prsgd.training.views import batch_norms


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """By name, each once. A module may replace one, so this is asked anew every time."""
    norms = batch_norms(module)
    statistics = {tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)}
    return {name: own for name, own in module.named_buffers() if own not in statistics}


def move(module: nn.Module, device: torch.device) -> nn.Module:
    """To the device, with memory of its own for each buffer; what is shared stays shared."""
    moved = dict[Tensor, Tensor]()
    for owner in module.modules():
        for name, own in owner._buffers.items():
            if own is not None and own not in moved:
                moved[own] = own.to(device).clone(memory_format=torch.contiguous_format)
            if own is not None:
                owner._buffers[name] = moved[own]
    return module.to(device)


@torch.inference_mode()
def set_consensus(
    model: nn.Module, workers: Sequence[nn.Module], communicator: Communicator
) -> None:
    """Give `model` the buffers of the consensus of all workers, of whom these are hosted."""
    hosted = [buffers(worker) for worker in workers]
    directions = set(spectral_vectors(model))
    for name, own in buffers(model).items():
        rows = torch.stack([found[name] for found in hosted])
        if name in directions or not (own.is_floating_point() or own.is_complex()):
            own.copy_(communicator.of_worker_0(rows[0]))
        elif own.is_complex():
            mean = communicator.gather_workers(torch.view_as_real(rows)).mean(0)
            own.copy_(torch.view_as_complex(mean))
        else:
            own.copy_(communicator.gather_workers(rows).mean(0))


def spectral_vectors(module: nn.Module) -> Iterator[str]:
    """The buffers that spectral normalisation iterates: directions, whose mean would be none."""
    for path, owner in module.named_modules():
        names = ["_u", "_v"] if isinstance(owner, _SpectralNorm) else []
        for hook in owner._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                names += [f"{hook.name}_u", f"{hook.name}_v"]
        yield from (f"{path}.{name}".lstrip(".") for name in names)
