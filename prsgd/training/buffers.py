"""The buffers of workers' modules, but for BatchNorm's statistics, which lie in rows.

Each worker has its own. Only the consensus brings them together: what is a floating-point number is
averaged, and the rest, with the vectors of spectral normalisation, is its first worker's. Where not
all workers take part in a round, the others get the averages as well.
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
    model: nn.Module,
    hosted: Sequence[nn.Module],
    communicator: Communicator,
    among: Sequence[int] | None = None,
) -> None:
    """Give `model` the buffers of the consensus of the workers `among`, or of all."""
    those = [*range(communicator.workers)] if among is None else [*among]
    found, averaged = [*map(buffers, hosted)], _averaged(model)
    for name, own in buffers(model).items():
        rows = torch.stack([of_worker[name] for of_worker in found])
        if name in averaged:
            own.copy_(_mean(rows, communicator, those))
        else:
            own.copy_(communicator.of_worker(those[0], rows))


@torch.inference_mode()
def share(hosted: Sequence[nn.Module], communicator: Communicator, among: Sequence[int]) -> None:
    """Give all other workers the averages of the buffers of those `among`."""
    found = [*map(buffers, hosted)]
    for name in _averaged(hosted[0]):
        rows = torch.stack([of_worker[name] for of_worker in found])
        mean = _mean(rows, communicator, [*among])
        for worker, of_worker in zip(communicator.local_workers, found, strict=True):
            if worker not in among:
                of_worker[name].copy_(mean)


def _averaged(module: nn.Module) -> list[str]:
    """The buffers that are averaged."""
    directions = set(spectral_vectors(module))
    numbers = {
        name: own.is_floating_point() or own.is_complex() for name, own in buffers(module).items()
    }
    return [name for name, is_number in numbers.items() if is_number and name not in directions]


def _mean(rows: Tensor, communicator: Communicator, among: list[int]) -> Tensor:
    """The mean over the workers `among`, from the rows of the hosted ones."""
    if rows.is_complex():
        real = communicator.gather_workers(torch.view_as_real(rows))
        return torch.view_as_complex(real[among].mean(0))
    return communicator.gather_workers(rows)[among].mean(0)


def spectral_vectors(module: nn.Module) -> Iterator[str]:
    """The buffers that spectral normalisation iterates: directions, whose mean would be none."""
    for path, owner in module.named_modules():
        names = ["_u", "_v"] if isinstance(owner, _SpectralNorm) else []
        for hook in owner._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                names += [f"{hook.name}_u", f"{hook.name}_v"]
        yield from (f"{path}.{name}".lstrip(".") for name in names)
