"""Whole numbers that were drawn on the CPU, on the device where samples lie."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def on_device(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Arrays of int64, copied to a GPU all at once, while the CPU goes on."""
    tensors = [torch.from_numpy(array) for array in arrays]
    if device.type == "cpu":
        return tensors
    together = torch.cat([tensor.reshape(-1) for tensor in tensors]).pin_memory()
    moved = together.to(device, non_blocking=True)
    pieces = torch.split(moved, [tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
