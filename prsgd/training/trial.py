"""One step of a module of a user's own, on a throwaway copy, to see whether rows can train it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prsgd.config.schema import Run
from prsgd.errors import why
from prsgd.training.fit import label, misfits
from prsgd.training.generators import generator_states, generators_restored
from prsgd.training.views import bind_views, row_of

IMAGES = 2  # of the batch that is tried, unless b is smaller


def try_model(run: Run, bf16: bool) -> str:
    """Why the run's module cannot be trained, in a line; empty where it can."""
    size, classes = run.data.size, run.data.class_count()
    with generators_restored(run.seed):
        images = torch.rand(min(IMAGES, run.batch_size), size, size, 3).permute(0, 3, 1, 2)
        stage = f"build({size}, {classes})"
        try:
            module = run.model.build(size, classes)
            if not isinstance(module, nn.Module):
                return f"{stage} returns {_kind(module)}; it must return a torch.nn.Module"
            if found := next(misfits(module), ""):
                return found
            stage = f"a step on images {tuple(images.shape)}"
            return _step(copy.deepcopy(module), images, classes, bf16)
        except (Exception, SystemExit) as error:
            return f"{stage} fails ({type(error).__name__}: {why(error)})"


def _step(model: nn.Module, images: Tensor, classes: int, bf16: bool) -> str:
    """What is wrong with a step in training and a forward pass in evaluation."""
    x, s = row_of(model)
    bind_views(model, x, s, torch.zeros_like(x))
    drawing, trained = _watch(model), set[Tensor]()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(trained.add)  # type: ignore[no-untyped-call]
    for is_training in (True, False):
        model.train(is_training)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
            if wrong := _wrong_output(logits, len(images), classes):
                return f"{label('', model)} {wrong}"
            loss = F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long))
        if drawing:
            return (
                f"{drawing[0]} draws random numbers in its forward pass, which a resumed run would "
                "not draw again; leave that out, as dropout with p=0"
            )
        if is_training:
            torch.autograd.backward(loss)
    for path, module in model.named_modules():
        for name, own in module._parameters.items():
            if own is not None and own.numel() and own not in trained:
                return f"{label(path, module)}: {name} gets no gradient; use it in forward"
    return ""


def _wrong_output(logits: Any, images: int, classes: int) -> str:
    must = f"it must return logits ({images}, {classes}) for {images} images"
    if not isinstance(logits, Tensor):
        return f"returns {_kind(logits)}; {must}"
    if logits.dim() != 2 or len(logits) != images or logits.shape[1] < classes:
        return f"returns {tuple(logits.shape)}; {must}"
    return ""


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


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
