"""Steps of a module of a user's own, on a throwaway copy, to see whether rows can train it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.config.schema import Run
from prsgd.training.fit import Misfit, label
from prsgd.training.generators import generator_states, generators_restored
from prsgd.training.views import bind_views, parameters, row_of

IMAGES = 2  # of the batch that is tried, unless b is smaller
STEPS = 2  # the second one fails where a graph of the first is kept
MOST_STEPS = 16  # of a module that draws, while a parameter has had no gradient


def example(run: Run, size: int) -> Tensor:
    """Images that a module is tried on."""
    with generators_restored(run.seed):
        return torch.rand(min(IMAGES, run.batch_size), size, size, 3).permute(0, 3, 1, 2)


def try_module(
    model: nn.Module, images: Tensor, classes: int, bf16: bool
) -> tuple[tuple[str, ...], bool]:
    """The parameters that get no gradient, and whether the forward pass in training draws.

    Raises a Misfit, or whatever the module raises. The module is of no use afterwards.
    """
    x, s = row_of(model)
    bind_views(model, x, s, torch.zeros_like(x))
    drawing, trained = _watch(model), set[Tensor]()
    for _, _, parameter in parameters(model):
        parameter.register_post_accumulate_grad_hook(trained.add)  # type: ignore[no-untyped-call]
    frozen = [(own, own.clone()) for own in model.parameters() if not own.requires_grad]
    layout, numbers = _layout(model), dict[str, float]()
    unused: tuple[str, ...] = ()
    model.train()
    for step in range(MOST_STEPS):
        torch.autograd.backward(_loss(model, images, classes, bf16))
        numbers = numbers or _numbers(model)
        unused = tuple(
            name
            for name, own in model.named_parameters()
            if own.requires_grad and own.numel() and own not in trained
        )
        if step + 1 >= STEPS and not (drawing and unused):
            break
    draws = bool(drawing)
    drawing.clear()
    model.eval()
    with torch.inference_mode():
        _loss(model, images, classes, bf16)
    if drawing:
        raise Misfit(
            f"{drawing[0]} draws random numbers in evaluation, so that no two are the same; draw "
            "in training only, as nn.Dropout does"
        )
    for name, found in _layout(model).items():
        if layout.get(name) != found:
            raise Misfit(
                f"{name} is replaced in a step; register it as it stays, change it in place"
            )
    for name, number in _numbers(model).items():
        if numbers.get(name, number) != number:
            raise Misfit(f"{name} changes in a step, and is not resumed; keep it in a buffer")
    if not all(torch.equal(own, value) for own, value in frozen):
        raise Misfit(f"{label('', model)} changes frozen parameters in a step; make them buffers")
    return unused, draws


def _loss(model: nn.Module, images: Tensor, classes: int, bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(images)
        if wrong := _wrong_output(logits, len(images), classes):
            raise Misfit(f"{label('', model)} {wrong}")
        return F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long))


def _wrong_output(logits: Any, images: int, classes: int) -> str:
    must = f"it must return logits ({images}, {classes}) for {images} images"
    if not isinstance(logits, Tensor):
        return f"returns {kind_of(logits)}; {must}"
    if logits.dim() != 2 or len(logits) != images or logits.shape[1] < classes:
        return f"returns {tuple(logits.shape)}; {must}"
    return ""


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
