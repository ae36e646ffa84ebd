"""A module whose parameters, gradients and BatchNorm statistics are views into rows.

Frozen parameters (requires_grad=False) are no part of a row, and tied ones are one part.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

ALIGNED = 64  # on a GPU a row begins at a multiple of so many numbers


def parameters(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """(owning module, name, parameter) of what is trained, each once, in a fixed order."""
    seen = set[Tensor]()
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None and parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield owner, name, parameter


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep statistics."""
    layers = (m for m in module.modules() if isinstance(m, _BatchNorm))
    return [norm for norm in layers if norm.running_mean is not None]


def flat(parameter: Tensor) -> Tensor:
    """A parameter as its part of a row: one dimension; four dimensions go channels-last."""
    return (parameter.permute(0, 2, 3, 1) if parameter.dim() == 4 else parameter).reshape(-1)


def view(part: Tensor, shape: torch.Size) -> Tensor:
    """The part of a row as a tensor of `shape`: the inverse of `flat`, without a copy."""
    if len(shape) == 4:
        o, i, h, w = shape
        return part.view(o, h, w, i).permute(0, 3, 1, 2)
    return part.view(shape)


def row_of(module: nn.Module) -> tuple[Tensor, Tensor]:
    """The module's parameters (D,) and BatchNorm statistics (B,), copied."""
    x = torch.cat([flat(p.detach()) for _, _, p in parameters(module)])
    norms = batch_norms(module)
    statistics = [n.running_mean for n in norms] + [n.running_var for n in norms]
    return x, torch.cat([x.new_empty(0), *statistics])  # type: ignore[list-item]


def rows_of(row: Tensor, count: int) -> Tensor:
    """(count, D): copies of a row (D,).

    On a GPU each row begins where cuDNN can read many weights at a time. Without that it refused
    ResNets in float32.
    """
    if not row.is_cuda:
        return row.repeat(count, 1)
    stride = -(-len(row) // ALIGNED) * ALIGNED
    rows = row.new_zeros(count, stride)[:, : len(row)]
    rows.copy_(row)
    return rows


def matrices(module: nn.Module) -> Tensor:
    """(D,): 1 where a row holds weights of two dimensions and more, 0 at biases and norms."""
    found = [p.new_full((p.numel(),), float(p.dim() > 1)) for _, _, p in parameters(module)]
    return torch.cat(found).detach()


def bind_views(module: nn.Module, x: Tensor, s: Tensor, g: Tensor | None = None) -> None:
    """Make the module's parameters views into x (D,), gradients into g, statistics into s (B,).

    The Parameter objects stay, as an LSTM keeps a list of its own of them.
    """
    start = 0
    for _, _, parameter in parameters(module):
        part = slice(start, start + parameter.numel())
        parameter.data = view(x[part], parameter.shape)
        parameter.grad = None if g is None else view(g[part], parameter.shape)
        start = part.stop
    start, half = 0, len(s) // 2
    for norm in batch_norms(module):
        end = start + norm.num_features
        norm.running_mean, norm.running_var = s[start:end], s[half + start : half + end]
        if norm.momentum is not None and type(norm).forward is _BatchNorm.forward:  # unread
            norm.num_batches_tracked = None
        start = end


def pooled(s: Tensor) -> Tensor:
    """BatchNorm statistics of the union of the workers' data: (N, B) to (B,).

    The mean of the means; the mean of the variances plus the variance of the means.
    """
    means, variances = s.chunk(2, 1)
    mean = means.mean(0)
    return torch.cat([mean, variances.mean(0) + (means - mean).square().mean(0)])


def share_frozen(module: nn.Module, original: nn.Module) -> nn.Module:
    """Let the frozen parameters of a copy lie in the memory of the original's."""
    for own, theirs in zip(module.parameters(), original.parameters(), strict=True):
        if not own.requires_grad:
            own.data = theirs.data
    return module
