"""A run's module, ready for rows. One of a user's own is tried first."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from prsgd.config.registry import tried
from prsgd.config.schema import Run
from prsgd.errors import UserError, why
from prsgd.rng import Purpose, generator
from prsgd.tasks.base import Nest, shapes
from prsgd.training.fit import Misfit, misfits
from prsgd.training.generators import generators_restored
from prsgd.training.start import fill
from prsgd.training.trial import example, kind_of, try_module
from prsgd.training.views import parameters


class Ready(NamedTuple):
    """A module and what its trial has shown; prsgd's own are not tried."""

    module: nn.Module  # what gets no gradient is frozen
    draws: bool = False  # whether its forward pass draws random numbers
    unused: tuple[str, ...] = ()  # the parameters that get no gradient

    @property
    def sizes(self) -> list[int]:
        """The numbers of each parameter, in the order of a row."""
        return [parameter.numel() for _, _, parameter in parameters(self.module)]


class _WorkerNorm(nn.SyncBatchNorm):
    """A SyncBatchNorm that does not send: each worker has its own statistics."""

    forward = _BatchNorm.forward


def build_module(run: Run, bf16: bool) -> Ready:
    """The run's module, at a start that is a function of the seed, or at the weights of a file.

    A UserError if rows cannot train it, or if the file does not fit.
    """
    start = int(generator(Purpose.MODEL, run.seed).integers(1 << 31))
    origin = tried(run)
    if not origin:
        with generators_restored(start):
            module = run.build_model()
        if run.start != "auto":
            fill(module, run)
        return Ready(module, run.model.draws)
    batch, facts = example(run), run.task.facts(run.data)
    told = ", ".join(f"{name}={facts.get(name)}" for name in run.model.asked())
    stage = f"build({told})"
    try:
        with generators_restored(start):
            module = run.build_model()
            if not isinstance(module, nn.Module):
                raise Misfit(f"{stage} returns {kind_of(module)}; it must return a torch.nn.Module")
            stage = f"a step on {shapes(batch)}"
            _materialise(module, run, batch)
        if wrong := next(misfits(module), ""):
            raise Misfit(wrong)
        for norm in module.modules():
            if isinstance(norm, nn.SyncBatchNorm):
                norm.__class__ = _WorkerNorm
        if run.start != "auto":
            stage = f"start={run.start}"
            fill(module, run)
            stage = f"a step on {shapes(batch)}"
        with generators_restored(run.seed):
            unused, draws = try_module(copy.deepcopy(module), run, batch, bf16)
    except UserError:
        raise
    except Misfit as misfit:
        raise UserError(f"{origin}: {misfit}") from misfit
    except (Exception, SystemExit) as error:
        line = f"{origin}: {stage} fails ({type(error).__name__}: {why(error)})"
        raise UserError(line) from error
    for path in unused:
        module.get_parameter(path).requires_grad_(False)
    return Ready(module, draws, unused)


def _materialise(module: nn.Module, run: Run, batch: Nest) -> None:
    """Give lazy parameters their shapes. In evaluation, where running statistics stay."""
    if any(map(is_lazy, [*module.parameters(), *module.buffers()])):
        with torch.no_grad():
            run.task.loss(module.eval(), batch)


def watch_unused(module: nn.Module, unused: tuple[str, ...]) -> None:
    """Let a gradient of what got none in the trial be an error, as it would be lost."""
    for path in unused:

        def refuse(gradient: Tensor, path: str = path) -> None:
            raise UserError(
                f"{path} got no gradient when the module was tried, and so is frozen, but gets one "
                "now; use it in every forward pass"
            )

        parameter = module.get_parameter(path).requires_grad_(True)
        parameter.register_hook(refuse)  # type: ignore[no-untyped-call]
