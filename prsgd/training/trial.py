"""One step of a module of a user's own, on a throwaway copy, to see whether rows can train it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from prsgd.config.schema import Run
from prsgd.errors import why
from prsgd.models import asked
from prsgd.tasks.base import Nest
from prsgd.training.fit import label, misfits
from prsgd.training.generators import generator_states, generators_restored
from prsgd.training.views import bind_views, row_of

SAMPLES = 2  # of the batch that is tried, unless b is smaller


def try_model(run: Run, bf16: bool) -> str:
    """Why the run's module cannot be trained, in a line; empty where it can."""
    with generators_restored(run.seed):
        samples = min(SAMPLES, run.batch_size)
        batch = run.task.example(run.data, samples, torch.device("cpu"))
        facts = run.task.facts(run.data)
        asks = ", ".join(f"{name}={facts.get(name)}" for name in asked(run.model))
        stage = f"build({asks})"
        try:
            module = run.build_model()
            if not isinstance(module, nn.Module):
                return f"{stage} returns {_kind(module)}; it must return a torch.nn.Module"
            if found := next(misfits(module), ""):
                return found
            stage = f"a step on a batch of {samples}"
            return _step(copy.deepcopy(module), run, batch, bf16)
        except WrongOutput as wrong:
            return f"{label('', module)} {wrong}"
        except (Exception, SystemExit) as error:
            return f"{stage} fails ({type(error).__name__}: {why(error)})"


class WrongOutput(Exception):
    """A module returned what the task cannot take."""


def _step(model: nn.Module, run: Run, batch: Nest, bf16: bool) -> str:
    """What is wrong with a step in training and a forward pass in evaluation."""
    x, s = row_of(model)
    bind_views(model, x, s, torch.zeros_like(x))
    shape = run.task.output(run.data, min(SAMPLES, run.batch_size))
    model.register_forward_hook(lambda _, __, output: _check_output(output, shape))
    drawing, trained = _watch(model), set[Tensor]()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(trained.add)  # type: ignore[no-untyped-call]
    for is_training in (True, False):
        model.train(is_training)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = run.task.loss(model, batch)
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


def _check_output(output: Any, shape: tuple[int, ...] | None) -> None:
    """`shape` is that of the logits, whose last axis may be longer; None: the task takes any."""
    if shape is None:
        return
    must = f"it must return logits {shape} for a batch of {shape[0]}"
    if not isinstance(output, Tensor):
        raise WrongOutput(f"returns {_kind(output)}; {must}")
    own = tuple(output.shape)
    if own[:-1] != shape[:-1] or own[-1] < shape[-1]:
        raise WrongOutput(f"returns {own}; {must}")


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
