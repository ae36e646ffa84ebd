"""Steps of a module of a user's own, on a throwaway copy, to see whether rows can train it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prsgd.config.schema import Run
from prsgd.tasks.base import Nest
from prsgd.training.fit import Misfit, label
from prsgd.training.generators import generator_states, generators_restored
from prsgd.training.views import bind_views, parameters, row_of

SAMPLES = 2  # of the batch that is tried, unless the part of a batch is smaller
STEPS = 2  # the second one fails where a graph of the first is kept
MOST_STEPS = 16  # of a module that draws, while a parameter has had no gradient


def example(run: Run) -> Nest:
    """A batch that a module is tried on."""
    with generators_restored(run.seed):
        return run.task.example(run.data, _samples(run), torch.device("cpu"))


def _samples(run: Run) -> int:
    return min(SAMPLES, run.batch_size // run.accumulate)


def try_module(model: nn.Module, run: Run, batch: Nest, bf16: bool) -> tuple[tuple[str, ...], bool]:
    """The parameters that get no gradient, and whether the forward pass in training draws.

    Raises a Misfit, or whatever the module raises. The module is of no use afterwards.
    """
    shape = run.task.output(run.data, _samples(run))

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found: object = run.task.loss(model, batch)
        if not isinstance(found, Tensor):
            raise Misfit(f"the loss is {kind_of(found)}; it must be a tensor of one number")
        if found.dim():
            raise Misfit(
                f"the loss has the shape {tuple(found.shape)}; it must be one number without an "
                "axis, such as a mean"
            )
        return found

    x, s = row_of(model)
    bind_views(model, x, s, torch.zeros_like(x))
    model.register_forward_hook(lambda model, _, output: _check(model, output, shape))
    drawing, trained = _watch(model), set[Tensor]()
    for _, _, parameter in parameters(model):
        parameter.register_post_accumulate_grad_hook(trained.add)  # type: ignore[no-untyped-call]
    frozen = [(own, own.clone()) for own in model.parameters() if not own.requires_grad]
    layout, numbers = _layout(model), dict[str, float]()
    unused: tuple[str, ...] = ()
    draws = False
    model.train()
    for step in range(MOST_STEPS):
        before = generator_states()
        torch.autograd.backward(loss())
        draws = draws or before != generator_states()
        numbers = numbers or _numbers(model)
        unused = tuple(
            name
            for name, own in model.named_parameters()
            if own.requires_grad and own.numel() and own not in trained
        )
        if step + 1 >= STEPS and not (draws and unused):
            break
    drawing.clear()
    model.eval()
    with torch.inference_mode():
        loss()
    if drawing:
        raise Misfit(
            f"{drawing[0]} draws random numbers in evaluation, so that no two are the same; draw "
            "in training only, as nn.Dropout does"
        )
    _refuse_changes(model, layout, numbers)
    if not all(torch.equal(own, value) for own, value in frozen):
        raise Misfit(f"{label('', model)} changes frozen parameters in a step; make them buffers")
    return unused, draws


def _refuse_changes(model: nn.Module, layout: dict[str, Any], numbers: dict[str, float]) -> None:
    """A Misfit where a step replaced tensors or changed numbers, which rows would not notice."""
    for name, found in _layout(model).items():
        if layout.get(name) != found:
            raise Misfit(
                f"{name} is replaced in a step; register it as it stays, change it in place"
            )
    for name, number in _numbers(model).items():
        if numbers.get(name, number) != number:
            raise Misfit(f"{name} changes in a step, and is not resumed; keep it in a buffer")


def _check(model: nn.Module, output: Any, shape: tuple[int, ...] | None) -> None:
    """`shape` is that of the logits, whose last axis may be longer; None: the task takes any."""
    if shape is None:
        return
    must = f"it must return logits {shape} for a batch of {shape[0]}"
    if not isinstance(output, Tensor):
        raise Misfit(f"{label('', model)} returns {kind_of(output)}; {must}")
    own = tuple(output.shape)
    if own[:-1] != shape[:-1] or own[-1] < shape[-1]:
        raise Misfit(f"{label('', model)} returns {own}; {must}")


def kind_of(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _layout(model: nn.Module) -> dict[str, Any]:
    """Where parameters and gradients lie, and the shapes and types of buffers, by label."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        part = label(path, module)
        for name, own in module._parameters.items():
            if own is not None:
                places = [t.data_ptr() for t in (own, own.grad) if t is not None]
                found[f"{part}: {name}"] = places
        for name, buffer in module._buffers.items():
            if buffer is not None:
                found[f"{part}: {name}"] = buffer.shape, buffer.dtype
    return found


def _numbers(model: nn.Module) -> dict[str, float]:
    """The plain numbers that modules keep, by label."""
    return {
        f"{label(path, module)}: {name}": value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if type(value) in (int, float)
    }


def _watch(model: nn.Module) -> list[str]:
    """A list that will name the modules whose forward passes draw, the innermost first."""
    drawing, before = list[str](), list[Any]()
    for path, module in model.named_modules():

        def after(module: nn.Module, *_: Any, path: str = path) -> None:
            if before.pop() != generator_states():
                drawing.append(label(path, module))

        module.register_forward_pre_hook(lambda *_: before.append(generator_states()))
        module.register_forward_hook(after)
    return drawing
