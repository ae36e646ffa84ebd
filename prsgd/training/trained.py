"""The model that a finished run has saved."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from prsgd.config.schema import Run
from prsgd.errors import UserError
from prsgd.training.generators import generators_restored


def trained(run: Run, folder: Path) -> nn.Module:
    """The module with the weights in a run's folder, on the CPU, in evaluation mode.

    `UserError` where the folder has none that fit.
    """
    path = folder / "model.safetensors"
    with generators_restored(run.seed):
        model = run.build_model()
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read ({first}); only a finished run has it") from error
    return model.eval()
