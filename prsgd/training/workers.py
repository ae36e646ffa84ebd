"""The workers as rows.

    x   (K, D)  parameters x_i of the K workers that this process hosts, N over all processes
    g   (K, D)  their stochastic gradients G_i
    m   (K, D)  the optimiser's moments, where it has any; AdamW's are m and v
    s   (K, B)  BatchNorm statistics: all running means, then all running variances

Each worker's model has its parameters, gradients and statistics as permanent views into its row, so
nothing is ever packed, and an average over workers is a sum over rows and one all-reduce.
Convolution weights are stored channels-last in their part of a row. All other buffers are each
worker's own, and frozen parameters are one for all.

Rows are of the type that the module's parameters have, which is float32 in every run. A module in
float64 is for proofs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from prsgd.algorithms.info import Part
from prsgd.algorithms.rows import Rows
from prsgd.distributed.communicator import Communicator, Mean
from prsgd.distributed.compression import Lossy
from prsgd.distributed.fragments import cut
from prsgd.distributed.late import Late
from prsgd.distributed.ledger import Ledger, Round
from prsgd.tasks.base import Draws, Nest
from prsgd.training.buffers import buffers, move, set_consensus, share
from prsgd.training.columns import Columns
from prsgd.training.differences import Differences
from prsgd.training.generators import ForwardDraws
from prsgd.training.gradients import Graphs, Loop
from prsgd.training.optimizers import ALL, OptimizerSettings, build_optimizer
from prsgd.training.views import (
    bind_views,
    matrices,
    parameters,
    pooled,
    row_of,
    rows_of,
    share_frozen,
)

CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_ has it


class Settings(OptimizerSettings, Protocol):
    """What a configuration says of a local step."""

    clip: float
    accumulate: int
    decayed: str
    gradients: str


class RowWorkers:
    """The workers that this process hosts; satisfies `algorithms.interface.Workers`."""

    def __init__(
        self,
        model: nn.Module,
        communicator: Communicator,
        task: Draws,
        settings: Settings,
        bf16: bool,
        forward_draws: ForwardDraws | None = None,
        keeps_frozen: bool = False,
    ) -> None:
        """`forward_draws` is for a model that draws random numbers in its forward pass.

        `keeps_frozen` says that frozen parameters outlive a step, as `build` does not know them.
        """
        self.communicator = communicator
        self.task = task
        self.clip = settings.clip
        self.accumulate = settings.accumulate
        self.bf16 = bf16
        self.forward_draws = forward_draws
        self.keeps_frozen = keeps_frozen
        self.ledger = Ledger()
        rows, device = len(communicator.local_workers), communicator.device
        model = move(copy.deepcopy(model), device)
        start, statistics = row_of(model)
        self.sizes = [p.numel() for _, _, p in parameters(model)]
        self.x = rows_of(start, rows)
        self.g = torch.zeros_like(self.x)
        self.s = statistics.repeat(rows, 1)
        decayed = matrices(model) if settings.decayed == "matrices" else None
        self.optimizer = build_optimizer(
            settings, self.x, communicator.local_workers, communicator.workers, decayed
        )
        zeros = torch.zeros(rows, dtype=torch.float64, device=device)
        self.losses = zeros.clone()  # (K,), of the last mini-batch
        self.loss_sums = zeros.clone()  # (K,), sums since the last row
        self.norm_sums = zeros.clone()  # (K,), sums of |G_i|^2
        self.draws = torch.zeros(rows, dtype=torch.int64)  # (K,), batches drawn so far
        self.count = communicator.workers  # N
        self.computing: Sequence[int] = range(self.count)  # workers that do in this step
        self.active = list(communicator.local_workers)  # those of them that are hosted
        self.local_steps = [0] * communicator.workers  # (N,), steps since the last round
        self.informed: Sequence[int] = range(self.count)  # workers that know the last mean
        self.scalars: dict[str, float] = {}
        self._per_worker: dict[str, Tensor] = {}
        self._replicated: dict[str, Tensor] = {}
        self.t = 0
        self.coding: tuple[Lossy, int] | None = None  # a compressor and the seed
        self.all = Columns(self, ALL, self.scalars)
        self._fragments: list[Columns] = []
        self._fragment_scalars: list[dict[str, float]] = []
        self._aside: Communicator | None = None
        self._late: Late | None = None
        self.gradients_are_equal = False  # whether they have been averaged in this step
        self._signal = 0
        self._scratch = torch.empty_like(self.x[0])
        self.models = []
        for x, g, s in zip(self.x, self.g, self.s, strict=True):
            self.models.append(share_frozen(copy.deepcopy(model), model).train())
            bind_views(self.models[-1], x, s, g)
        self.gradients = (Graphs if settings.gradients == "graph" else Loop)(self)
        self._consensus_model = model.eval()

    def compress(self, compressor: Lossy, seed: int) -> None:
        """From here on, send compressed differences of rows. Called before the first step."""
        self.coding = compressor, seed
        self.all = Columns(self, ALL, self.scalars)
        self.restart(self.x[0].clone())

    @property
    def differences(self) -> Differences | None:
        """What is sent of all columns, where it is compressed."""
        return self.all.differences

    def fragments(self, count: int) -> Sequence[Rows]:
        if count == 1:
            return [self]
        if len(self._fragments) != count:
            self._fragment_scalars = self._fragment_scalars or [{} for _ in range(count)]
            parts = zip(cut(self.sizes, count), self._fragment_scalars, strict=True)
            self._fragments = [Columns(self, *part, f) for f, part in enumerate(parts, 1)]
        return self._fragments

    def compute_gradients(self, active: Sequence[int] | None = None, signal: int = 0) -> None:
        """Step t + 1 begins: G_i at x_i on worker i's next batch, for the active (None: all).

        `signal` is the weight of the signal that this process was sent; it travels with a round.
        """
        self.t += 1
        self._signal = signal
        self.gradients_are_equal = False
        self.communicator.enter_step(self.t)
        self.computing = range(self.count) if active is None else active
        for worker in self.computing:
            self.local_steps[worker] += 1
        self.active = [w for w in self.communicator.local_workers if w in self.computing]
        self.g.zero_()
        rows = [worker - self.communicator.local_workers.start for worker in self.active]
        if rows:
            batch = self.draw(rows)
            with self.forward_draws or nullcontext():
                self.gradients.compute(rows, batch)
        for row in rows:
            self.draws[row] += 1
            self.loss_sums[row] += self.losses[row]
            self._scratch.copy_(self.g[row])  # the rounding of dot depends on the address
            squared = torch.dot(self._scratch, self._scratch)
            self.norm_sums[row] += squared
            if self.clip:
                self.g[row] *= (self.clip / (squared.sqrt() + CLIP_EPS)).clamp(max=1)

    def draw(self, rows: list[int]) -> Nest:
        """The next batches of these rows, which are those of the active workers."""
        return self.task.batch(self.active, self.draws[rows].tolist())

    def begin_forward(self, row: int) -> None:
        """The forward pass of a row comes next; what it draws depends on the batch."""
        if self.forward_draws:
            worker = self.communicator.local_workers[row]
            self.forward_draws.begin(worker, int(self.draws[row]))

    def autocast(self, keeps_casts: bool = True) -> torch.autocast:
        """bf16 for one forward pass: the weight cache does not see rows that change in place."""
        kind = self.communicator.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self.bf16, cache_enabled=keeps_casts)

    @torch.no_grad()
    def optimizer_step(self, lr: float) -> None:
        if self.differences and not self.gradients_are_equal:
            self.differences.leave(self.x[0], self.scalars)
        self.optimizer.count_step(self.computing)
        if len(self.active) == len(self.models):
            self.optimizer.step(self.x, self.g, lr)
            return
        for worker in self.active:
            row = worker - self.communicator.local_workers.start
            self.optimizer.step(self.x, self.g, lr, slice(row, row + 1))

    def own(self, numbers: Sequence[float]) -> Tensor:
        hosted = self.communicator.local_workers
        return self.x.new_tensor(numbers[hosted.start : hosted.stop]).unsqueeze(1)

    def mean(self, *parts: Part, among: Sequence[int] | None = None) -> list[Tensor]:
        return self.all.mean(*parts, among=among)

    def start_mean(self, delay: int, *parts: Part) -> None:
        self.all.start_mean(delay, *parts)

    def finish_mean(self) -> list[Tensor]:
        return self.all.finish_mean()

    def settle(self, t: int | None = None) -> None:
        """Wait for all means that are under way, or for those that were sent in the steps 1..t."""
        for columns in sorted((self.all, *self._fragments), key=lambda own: own.sent_at or 0):
            if columns.sent_at and columns.sent_at <= (t or self.t):
                columns.settle()

    @property
    def aside(self) -> Communicator:
        """What means go through while workers go on."""
        self._aside = self._aside or self.communicator.aside()
        return self._aside

    def later(self, work: Callable[[], Mean]) -> Late:
        """Let work go on while workers do, after the work that was given before."""
        self._late = Late(work, self.communicator.device, self._late)
        return self._late

    def restart(self, x: Tensor) -> None:
        self.all.restart(x)

    def moments(self, at_sync: str) -> list[Part]:
        return self.all.moments(at_sync)

    @torch.no_grad()
    def set_moments(self, at_sync: str, means: list[Tensor]) -> None:
        self.all.set_moments(at_sync, means)
        if at_sync == "average":
            self._average_corrections(self.communicator.workers)
        elif at_sync == "reset":
            for correction in self.optimizer.corrections.values():
                correction.zero_()

    def _average_corrections(self, group: int) -> None:
        """Those of all workers are known here, so nothing is sent."""
        for correction in self.optimizer.corrections.values():
            groups = correction.view(-1, group)
            groups.copy_(groups.mean(1, keepdim=True).expand_as(groups))

    @torch.no_grad()
    def average(self, at_sync: str, group: int | None = None) -> None:
        moments = self.moments(at_sync)
        if group is None or group == self.communicator.workers:
            mean, *means = self.mean(Part(self.x), *moments)
            self.restart(mean)
            self.set_moments(at_sync, means)
            return
        self._group_round([self.x, *(part.rows for part in moments)], group)
        if at_sync == "average":
            self._average_corrections(group)
        elif at_sync == "reset":
            self.set_moments(at_sync, [])

    @torch.no_grad()
    def average_gradients(self) -> None:
        [mean] = self.mean(Part(self.g, reference="zero"))
        self.g.copy_(mean)
        self.gradients_are_equal = True

    def mean_loss(self) -> float:
        self.ledger.payload_bytes += self.losses.element_size()
        return float(self.communicator.gather_workers(self.losses).mean())

    def per_worker(self, name: str) -> Tensor:
        if name not in self._per_worker:
            self._per_worker[name] = torch.zeros_like(self.x)
        return self._per_worker[name]

    def replicated(self, name: str) -> Tensor:
        if name not in self._replicated:
            self._replicated[name] = torch.zeros_like(self.x[0])
        return self._replicated[name]

    def is_finite(self) -> bool:
        """Whether all parameters, moments and vectors of all workers are finite numbers."""
        state = [self.x, *self.optimizer.moments.values()]
        state += [*self._per_worker.values(), *self._replicated.values()]
        strange = torch.tensor(float(not all(bool(torch.isfinite(s).all()) for s in state)))
        return not self.communicator.all_reduce_sum(strange)

    def take_newcomers(self, among: Sequence[int]) -> int:
        """How many of those that take part in a round did not know the last mean.

        From here on only they know it.
        """
        newcomers = len({*among} - {*self.informed})
        self.informed = among
        return newcomers

    @torch.no_grad()
    def pool_statistics(self, among: Sequence[int]) -> None:
        """All others get the pooled BatchNorm statistics and the other buffers of those `among`."""
        share(self.models, self.communicator, among)
        if not self.s.shape[1]:
            return
        statistics = pooled(self.communicator.gather_workers(self.s)[[*among]]).to(self.s)
        for row, worker in enumerate(self.communicator.local_workers):
            if worker not in among:
                self.s[row] = statistics

    def control(self) -> Tensor:
        """(2,): the losses since the last row, summed over the hosted workers, and the signal."""
        control = torch.zeros(2, device=self.communicator.device)
        control[0], control[1] = self.loss_sums.sum(), self._signal
        return control

    def _group_round(self, parts: list[Tensor], size: int) -> None:
        """One round within groups: every row of the parts becomes its group's mean."""
        drifts = self.x.new_empty(len(self.x))
        for rows, found in self.communicator.group_means(parts, size):
            drifts[rows] = self.squared_distances(self.x[rows], found.means[0])
            for part, mean in zip(parts, found.means, strict=True):
                part[rows] = mean
        found = found._replace(control=None)
        steps = self.take_local_steps()
        self.ledger.append(Round.of(found, self.t, drifts, steps, group=size))

    def take_local_steps(self) -> list[int]:
        """The steps of all N workers since the last round; the next one begins here."""
        steps, self.local_steps = self.local_steps, [0] * len(self.local_steps)
        return steps

    def squared_distances(self, rows: Tensor, point: Tensor) -> Tensor:
        """|x_i - point|^2 of rows (K, D), (K,)."""
        distances, scratch = [], self._scratch[: rows.shape[1]]
        for row in rows:
            torch.sub(row, point, out=scratch)
            distances.append(torch.dot(scratch, scratch))
        return torch.stack(distances)

    @torch.no_grad()
    def consensus(
        self, eval_params: Tensor | None, among: Sequence[int] | None = None
    ) -> tuple[nn.Module, float]:
        """The model to evaluate, at `eval_params` (D,) or at x̄, and the drift from x̄.

        x̄ is the mean of the workers `among`, or of all. BatchNorm's statistics are pooled over
        them, and other buffers averaged. The module is the same at every call.
        """
        silent = torch.zeros(2, device=self.communicator.device)
        mean = self.communicator.among(among).mean([self.x], silent).means[0].clone()
        those = slice(None) if among is None else [*among]
        distances = self.communicator.gather_workers(self.squared_distances(self.x, mean))[those]
        statistics = pooled(self.communicator.gather_workers(self.s)[those]).to(self.s)
        x = mean if eval_params is None else eval_params.clone()
        bind_views(self._consensus_model, x, statistics)
        set_consensus(self._consensus_model, self.models, self.communicator, among)
        return self._consensus_model, float(distances.mean())

    def state_tensors(self) -> dict[str, Tensor]:
        """All tensors that outlive a step: a worker's as `name.worker`, the others as `name.all`.

        The optimiser's and the algorithm's own are among them.
        """
        rows = {"x": self.x, "s": self.s, "draws": self.draws}
        rows |= {"loss": self.losses, "loss_sum": self.loss_sums, "norm_sum": self.norm_sums}
        rows |= {f"optimiser/{k}": tensor for k, tensor in self.optimizer.moments.items()}
        rows |= {f"algorithm/{name}": own for name, own in self._per_worker.items()}
        state = {
            f"{name}.{worker}": tensor[row]
            for name, tensor in rows.items()
            for row, worker in enumerate(self.communicator.local_workers)
        }
        for worker, model in zip(self.communicator.local_workers, self.models, strict=True):
            state |= {f"buffer/{name}.{worker}": own for name, own in buffers(model).items()}
        if self.keeps_frozen:
            state |= {
                f"frozen/{name}.all": own.detach()
                for name, own in self._consensus_model.named_parameters()
                if not own.requires_grad
            }
        corrections = self.optimizer.corrections
        state |= {f"optimiser/correction_{name}.all": c for name, c in corrections.items()}
        return state | {f"algorithm/{name}.all": own for name, own in self._replicated.items()}

    def counters(self) -> dict[str, Any]:
        """All that outlives a step and is no tensor; the same on every process."""
        names = {"per_worker": list(self._per_worker), "replicated": list(self._replicated)}
        return {
            "t": self.t,
            "local_steps": self.local_steps,
            "informed": [*self.informed],
            "scalars": self.scalars,
            "fragments": self._fragment_scalars,
            "names": names,
            "ledger": self.ledger.sums(),
        }

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Take over what `counters` returned, and make the tensors that it names."""
        self.t = counters["t"]
        self.local_steps = counters["local_steps"]
        self.informed = counters.get("informed", range(self.count))
        self.scalars.clear()
        self.scalars |= counters["scalars"]
        self._fragments, self._fragment_scalars = [], counters.get("fragments", [])
        self.ledger = Ledger.of(counters["ledger"])
        for name in counters["names"]["per_worker"]:
            self.per_worker(name)
        for name in counters["names"]["replicated"]:
            self.replicated(name)
