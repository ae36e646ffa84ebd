"""Rows, views, BatchNorm statistics and the two reductions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import bound, drawn, part, small_run
from drawn import Drawn
from torch import nn

from prsgd.distributed.communicator import Communicator
from prsgd.distributed.placement import placement
from prsgd.distributed.reduction import exact_mean, fast_mean
from prsgd.models import MLP, ResNet
from prsgd.training.setup import build_workers
from prsgd.training.views import parameters, pooled
from prsgd.training.workers import RowWorkers


@pytest.fixture
def workers(cache: Path) -> RowWorkers:
    run = small_run(workers=3, model=part("resnet", depth=8), momentum=0.9)
    return build_workers(run, bound(run, cache), Communicator(3, "cpu", "fast"), bf16=False)


@pytest.mark.parametrize(
    ("depth", "count"),
    [(8, 75_290), (20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameters_of_the_residual_networks(depth: int, count: int) -> None:
    """6n + 2 layers without projections; ResNet-20's 0.27 M as in He et al., table 6."""
    model = ResNet(depth).build(32, 10)
    assert sum(p.numel() for p in model.parameters()) == count
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == depth
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_groupnorm_lets_no_image_change_another() -> None:
    """As many parameters as with BatchNorm, but no statistics, and training is as evaluation."""
    torch.manual_seed(0)
    group, batch = (ResNet(8, norm).build(32, 10) for norm in ("group", "batch"))
    assert [p.shape for p in group.parameters()] == [p.shape for p in batch.parameters()]
    assert not [*group.buffers()]
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(group(images)[:1], group(images[:1]))
    assert not torch.allclose(batch(images)[:1], batch(images[:1]), atol=0.1)
    norms = [m for m in group.modules() if isinstance(m, nn.GroupNorm)]
    assert {m.num_channels // m.num_groups for m in norms} == {8}
    assert ResNet(8, "group").title == "ResNet-8 with GroupNorm"


def test_initialisation_is_he_normal() -> None:
    torch.manual_seed(0)
    for model in (ResNet(20).build(32, 10), MLP(64).build(32, 10)):
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > 4000:
                fan_in = module.weight[0].numel()
                assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_parameters_gradients_and_statistics_are_views(workers: RowWorkers) -> None:
    before = [(p.data_ptr(), p.grad.data_ptr()) for m in workers.models for p in m.parameters()]
    for _ in range(2):
        workers.compute_gradients()
        workers.optimizer_step(0.1)
        workers.average("average")
    after = [(p.data_ptr(), p.grad.data_ptr()) for m in workers.models for p in m.parameters()]
    assert before == after
    for row, model in enumerate(workers.models):
        flat = [
            p.permute(0, 2, 3, 1).reshape(-1) if p.dim() == 4 else p.flatten()
            for _, _, p in parameters(model)
        ]
        assert torch.equal(torch.cat(flat), workers.x[row])
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        means = torch.cat([norm.running_mean for norm in norms])
        assert torch.equal(means, workers.s[row, : len(means)])
        assert means.abs().max() > 0
        for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            assert conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_workers_start_equal_and_drift_apart(workers: RowWorkers) -> None:
    assert torch.equal(workers.x[0], workers.x[2])
    workers.compute_gradients()
    workers.optimizer_step(0.1)
    distances = workers.squared_distances(workers.x, workers.x.mean(0))
    expected = (workers.x - workers.x.mean(0)).square().sum(1)
    torch.testing.assert_close(distances, expected)
    assert distances.min() > 0
    workers.average("average")
    assert workers.squared_distances(workers.x, workers.x.mean(0)).max() < 1e-9


def test_pooled_statistics_are_those_of_the_pooled_data() -> None:
    data = np.random.default_rng(0).normal(size=(3, 50, 7)) * 2 + np.arange(3)[:, None, None]
    statistics = np.concatenate([data.mean(1), data.var(1)], 1)
    everything = data.reshape(-1, 7)
    expected = np.concatenate([everything.mean(0), everything.var(0)])
    np.testing.assert_allclose(pooled(torch.from_numpy(statistics)), expected)


def test_looking_at_the_consensus_changes_nothing(workers: RowWorkers) -> None:
    workers.compute_gradients()
    workers.optimizer_step(0.1)
    before = {name: rows.clone() for name, rows in workers.state_tensors().items()}
    model, drift = workers.consensus(None)
    with torch.inference_mode():
        model(torch.randn(4, 3, 8, 8))
    assert all(torch.equal(rows, before[name]) for name, rows in workers.state_tensors().items())
    assert drift == pytest.approx(float((workers.x - workers.x.mean(0)).square().sum(1).mean()))
    assert not model.training
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(
        torch.cat([n.running_mean for n in norms] + [n.running_var for n in norms]),
        pooled(workers.s),
    )


def reduce(kind: str, parts: list[torch.Tensor], processes: int) -> list[np.ndarray]:
    """Play all processes' part of one reduction, collective by collective."""
    workers = len(parts[0])
    spans = placement(workers, processes)
    control = torch.zeros(2)
    if kind == "fast":
        size = len(parts) * parts[0].shape[1] + 2
        total = torch.zeros(size)
        for span in spans:

            def collect(tensor: torch.Tensor, operation: str) -> None:
                total.add_(tensor)

            mine = [p[span.start : span.stop] for p in parts]
            fast_mean(mine, workers, control, collect, torch.empty(size))
        return [(total[: size - 2] / workers).numpy()]
    heard: list[list[torch.Tensor]] = [[], [], []]
    results = []
    for collective in range(4):  # the maxima, the control numbers, the sums, and the end
        results = []
        for span in spans:
            calls = iter(range(3))

            def all_reduce(
                tensor: torch.Tensor, operation: str, calls=calls, collective=collective
            ) -> None:
                call = next(calls)
                if call == collective:
                    heard[call].append(tensor.clone())
                if call < collective:
                    stack = torch.stack(heard[call])
                    tensor.copy_(stack.amax(0) if operation == "max" else stack.sum(0))

            mine = [p[span.start : span.stop] for p in parts]
            results.append(exact_mean(mine, workers, control, all_reduce)[0])
    return [np.stack([np.concatenate([m.numpy() for m in means]) for means in results])]


def test_exact_means_do_not_depend_on_the_placement() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(6, 1000, generator=generator) * 10.0 ** torch.arange(-12, 8, 0.02),
        torch.randn(6, 1000, generator=generator) * 1e-6,
    ]
    expected = np.concatenate([part.double().mean(0).numpy() for part in parts])
    found = [reduce("exact", parts, processes)[0] for processes in (1, 2, 3, 6)]
    for means in found:
        assert all(np.array_equal(rank, found[0][0]) for rank in means)
    scale = np.repeat([float(part.abs().max()) for part in parts], 1000)
    error = np.abs(found[0][0] - expected)
    assert (error <= 2.0**-58 * scale + np.abs(expected) * 2.0**-23).all()
    fast = [reduce("fast", parts, processes)[0] for processes in (1, 2, 3)]
    assert not all(np.array_equal(f, fast[0]) for f in fast)
    np.testing.assert_allclose(fast[0], expected, rtol=1e-4, atol=1e-6 * scale.max())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_exact_means_tell_of_what_is_not_finite(value: float) -> None:
    part = torch.ones(2, 3)
    part[1, 1] = value
    _, control = exact_mean([part], 2, torch.zeros(2), lambda tensor, operation: None)
    assert torch.isinf(control).all()


@pytest.mark.parametrize("bf16", [False, True])
def test_precision(cache: Path, bf16: bool) -> None:
    """bf16 computes in bf16 and keeps rows in fp32; the loss goes down in both."""
    run = small_run(workers=1, model=part("resnet", depth=8), lr=0.05)
    task = bound(run, cache)
    batch = drawn(task, 0, 0)
    same = Drawn(lambda worker, draw: batch)
    workers = build_workers(run, same, Communicator(1, "cpu", "fast"), bf16)
    kinds = set()
    hook = workers.models[0].conv.register_forward_hook(lambda m, i, out: kinds.add(out.dtype))
    sums = [0.0]
    for _ in range(30):
        workers.compute_gradients()
        sums.append(float(workers.loss_sums))
        workers.optimizer_step(0.05)
    hook.remove()
    assert kinds == {torch.bfloat16 if bf16 else torch.float32}
    assert workers.x.dtype == workers.g.dtype == torch.float32
    losses = np.diff(sums)
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()
