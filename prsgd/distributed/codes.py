"""Codes of blocks of numbers as bytes, and back. A scale is the last four bytes of a block."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 4  # bytes
BITS = 8  # of a byte


def in_blocks(rows: Tensor, size: int) -> Tensor:
    """(..., D) as (..., B, size), padded with zeros."""
    blocks = -(-rows.shape[-1] // size)
    padded = torch.nn.functional.pad(rows, (0, blocks * size - rows.shape[-1]))
    return padded.view(*rows.shape[:-1], blocks, size)


def pack_bf16(blocks: Tensor) -> Tensor:
    return blocks.to(torch.bfloat16).view(torch.uint8)


def unpack_bf16(packed: Tensor) -> Tensor:
    return packed.contiguous().view(torch.bfloat16).float()


def pack_integers(blocks: Tensor, bits: int, uniforms: Tensor | None) -> Tensor:
    top = 2 ** (bits - 1) - 1
    scale = blocks.abs().amax(-1, keepdim=True) / top
    levels = blocks / scale.where(scale > 0, 1)
    levels = levels.round() if uniforms is None else (levels + uniforms).floor()
    codes = levels.nan_to_num(0).clamp(-top, top).to(torch.int8)
    if bits == 8:
        return _with_scale(codes.view(torch.uint8), scale)
    codes = (codes + 8).view(torch.uint8)
    low, high = codes[..., ::2], codes[..., 1::2]
    return _with_scale(low | high << 4, scale)


def unpack_integers(packed: Tensor, bits: int) -> Tensor:
    codes, scale = _apart(packed)
    if bits == 8:
        return codes.view(torch.int8) * scale
    pairs = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
    return (pairs.to(torch.int8) - 8) * scale


def pack_signs(blocks: Tensor, counts: Tensor) -> Tensor:
    scale = blocks.abs().sum(-1, keepdim=True) / counts
    weights = 1 << torch.arange(BITS, dtype=torch.uint8, device=blocks.device)
    ones = (blocks >= 0).view(*blocks.shape[:-1], -1, BITS) * weights
    return _with_scale(ones.sum(-1, dtype=torch.uint8), scale)


def unpack_signs(packed: Tensor) -> Tensor:
    codes, scale = _apart(packed)
    places = torch.arange(BITS, dtype=torch.uint8, device=packed.device)
    ones = ((codes[..., None] >> places) & 1).flatten(-2)
    return (2 * ones.to(torch.int8) - 1) * scale


def _with_scale(codes: Tensor, scale: Tensor) -> Tensor:
    return torch.cat([codes, scale.float().contiguous().view(torch.uint8)], -1)


def _apart(packed: Tensor) -> tuple[Tensor, Tensor]:
    codes, scale = packed[..., :-SCALE], packed[..., -SCALE:]
    return codes.contiguous(), scale.contiguous().view(torch.float32)
