"""The workers as rows.

    x   (K, D)  parameters x_i of the K workers that this process hosts, N over all processes
    g   (K, D)  their stochastic gradients G_i
    m   (K, D)  the optimiser's moments, where it has any
    s   (K, B)  BatchNorm statistics: all running means, then all running variances

Each worker's model has its parameters, gradients and statistics as permanent views into its row, so
nothing is ever packed, and an average over workers is a sum over rows and one all-reduce.
Convolution weights lie channels-last in their part of a row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.cluster import Cluster
from prsgd.optimisers import SGD

Draw = Callable[[int, int], tuple[Tensor, Tensor]]  # (worker, draw) -> images, labels


def parameters(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """(owner, name, parameter) in a fixed order."""
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                yield owner, name, parameter


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def view(part: Tensor, shape: torch.Size) -> Tensor:
    """A flat part of a row as a tensor of `shape`; four dimensions are laid out channels-last."""
    if len(shape) == 4:
        o, i, h, w = shape
        return part.view(o, h, w, i).permute(0, 3, 1, 2)
    return part.view(shape)


def settle_in(module: nn.Module, x: Tensor, s: Tensor, g: Tensor | None = None) -> None:
    """Make the module's parameters views into x (D,), its statistics into s (B,), grads into g."""
    start = 0
    for owner, name, parameter in list(parameters(module)):
        part = slice(start, start + parameter.numel())
        here = nn.Parameter(view(x[part], parameter.shape), requires_grad=g is not None)
        if g is not None:
            here.grad = view(g[part], parameter.shape)
        owner._parameters[name] = here
        start = part.stop
    start, half = 0, len(s) // 2
    for norm in batch_norms(module):
        end = start + norm.num_features
        norm.running_mean, norm.running_var = s[start:end], s[half + start : half + end]
        norm.num_batches_tracked = None
        start = end


def pooled(s: Tensor) -> Tensor:
    """BatchNorm statistics of the union of the workers' data: (N, B) to (B,).

    The mean of the means; the mean of the variances plus the variance of the means.
    """
    means, variances = s.chunk(2, 1)
    mean = means.mean(0)
    return torch.cat([mean, variances.mean(0) + (means - mean).square().mean(0)])


class RowWorkers:
    """The hosted workers; satisfies `algorithms.base.Workers`."""

    def __init__(
        self,
        model: nn.Module,
        cluster: Cluster,
        draw: Draw,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        bf16: bool,
    ) -> None:
        self.cluster = cluster
        self.draw = draw
        self.bf16 = bf16
        rows, device = len(cluster.hosted), cluster.device
        start = torch.cat(
            [
                p.detach().permute(0, 2, 3, 1).reshape(-1) if p.dim() == 4 else p.detach().flatten()
                for _, _, p in parameters(model)
            ]
        )
        features = sum(norm.num_features for norm in batch_norms(model))
        self.x = start.to(device).repeat(rows, 1)
        self.g = torch.zeros_like(self.x)
        self.s = torch.cat([torch.zeros(features), torch.ones(features)]).to(device).repeat(rows, 1)
        self.optimiser = SGD(self.x, momentum, nesterov, weight_decay)
        self.loss_sums = torch.zeros(rows, dtype=torch.float64, device=device)  # since the last row
        self.norm_sums = torch.zeros_like(self.loss_sums)  # of |G_i|^2, since the last row
        self.draws = torch.zeros(rows, dtype=torch.int64)  # batches that each worker has drawn
        self.active = list(cluster.hosted)  # the hosted workers that computed in this step
        self.taken = [0] * cluster.workers  # steps of all N workers since the last averaging
        self.t = 0
        self._scratch = torch.empty_like(self.x[0])
        self.models = []
        for x, g, s in zip(self.x, self.g, self.s, strict=True):
            self.models.append(copy.deepcopy(model).to(device))
            settle_in(self.models[-1], x, s, g)
        self.spare = copy.deepcopy(model).to(device).eval()

    def observe_gradients(self, active: Sequence[int] | None = None) -> None:
        """G_i at x_i on worker i's next batch, for the active workers (None: all); t goes up."""
        self.t += 1
        computing = range(self.cluster.workers) if active is None else active
        for worker in computing:
            self.taken[worker] += 1
        self.active = [worker for worker in self.cluster.hosted if worker in computing]
        self.g.zero_()
        for worker in self.active:
            row = worker - self.cluster.hosted.start
            images, labels = self.draw(worker, int(self.draws[row]))
            with self.autocast():
                loss = F.cross_entropy(self.models[row](images), labels)
            torch.autograd.backward(loss)
            self.draws[row] += 1
            self.loss_sums[row] += loss.detach()
            self._scratch.copy_(self.g[row])  # a dot's rounding depends on where a row begins
            self.norm_sums[row] += torch.dot(self._scratch, self._scratch)

    def autocast(self) -> torch.autocast:
        """To be entered per forward: its weight cache does not see rows change in place."""
        return torch.autocast(self.cluster.device.type, torch.bfloat16, enabled=self.bf16)

    @torch.no_grad()
    def descend(self, lr: float) -> None:
        if len(self.active) == len(self.models):
            self.optimiser.descend(self.x, self.g, lr)
            return
        for worker in self.active:
            row = worker - self.cluster.hosted.start
            self.optimiser.descend(self.x, self.g, lr, slice(row, row + 1))

    @torch.no_grad()
    def average(self, moments: str) -> None:
        m = self.optimiser.m
        send_moments = m is not None and moments == "average"
        means = self._mean([self.x, m] if m is not None and send_moments else [self.x])
        self.cluster.ledger.open[-1].drifts = self.squared_distances(means[0])
        self.x.copy_(means[0])
        if m is not None and send_moments:
            m.copy_(means[1])
        elif m is not None and moments == "reset":
            m.zero_()

    @torch.no_grad()
    def average_gradients(self) -> None:
        self.g.copy_(self._mean([self.g])[0])

    def _mean(self, parts: list[Tensor]) -> list[Tensor]:
        self.say_loss()
        means = self.cluster.mean(self.t, parts)
        self.cluster.ledger.open[-1].local_steps, self.taken = self.taken, [0] * len(self.taken)
        return means

    def say_loss(self) -> None:
        """Let the sum of losses since the last row travel with what is sent next."""
        self.cluster.said[0] = self.loss_sums.sum()

    def squared_distances(self, centre: Tensor) -> Tensor:
        """|x_i - centre|^2 of the hosted workers, (K,)."""
        distances = []
        for row in self.x:
            torch.sub(row, centre, out=self._scratch)
            distances.append(torch.dot(self._scratch, self._scratch))
        return torch.stack(distances)

    @torch.no_grad()
    def consensus(self) -> tuple[nn.Module, float]:
        """The model x̄ with pooled BatchNorm statistics, ready to evaluate, and the drift."""
        centre = self.cluster.uncharged_mean(self.x)
        drift = float(self.cluster.share(self.squared_distances(centre)).mean())
        statistics = pooled(self.cluster.share(self.s)).to(self.s)
        settle_in(self.spare, centre, statistics)
        return self.spare, drift

    def rows(self) -> dict[str, Tensor]:
        """Everything that belongs to a worker and outlives a step, by name, each (K, ...)."""
        kept = {"x": self.x, "s": self.s, "draws": self.draws}
        kept |= {"loss_sum": self.loss_sums, "norm_sum": self.norm_sums}
        return kept if self.optimiser.m is None else {**kept, "m": self.optimiser.m}
