"""The mean over all workers of rows that travel in a compressed form.

Sums are taken in the order of the workers, so that the number of processes does not matter. They
are not where a process hosts so many workers that their sum in float32 is smaller than their
messages; with `reduction=exact` the messages travel all the same, and are summed in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from prsgd.distributed.codes import in_blocks
from prsgd.distributed.communicator import Communicator, Mean
from prsgd.distributed.compression import BLOCK, FLOAT32, INDEX, Dense, Lossy, RandomK, TopK
from prsgd.distributed.pending import Stopwatch
from prsgd.distributed.reduction import Reduction
from prsgd.rng import Purpose, generator

OF_ALL = 0  # whose random numbers are drawn for all workers; those of worker i are i + 1


class Arrived(NamedTuple):
    """The mean, and for each part (K, D) what the messages of the hosted workers mean."""

    mean: Mean
    sent: list[Tensor]


def compressed_mean(
    compressor: Lossy,
    communicator: Communicator,
    parts: list[Tensor],
    control: Tensor,
    where: list[int],
) -> Arrived:
    """The mean of each part (K, D) over all workers, as `Communicator.mean` has it.

    `where` is (seed, t), of which all random numbers are a function.
    """
    if isinstance(compressor, RandomK):
        return _masked(compressor, communicator, parts, control, where)
    if isinstance(compressor, TopK):
        return _gathered(compressor, communicator, parts, control)
    assert isinstance(compressor, Dense)
    return _in_shards(compressor, communicator, parts, control, where)


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, one after another."""
    return tensor.contiguous().view(torch.uint8).flatten()


def _floats(piece: Tensor) -> Tensor:
    """Bytes as float32, wherever they lie."""
    return piece.clone().view(torch.float32)


def _sum_type(communicator: Communicator) -> torch.dtype:
    is_exact = communicator.reduction is Reduction.EXACT
    return torch.float64 if is_exact else torch.float32


def _sum_is_smaller(communicator: Communicator, hosted: int, message: int, numbers: int) -> bool:
    """Whether a sum of so many numbers is smaller than the messages of `hosted` workers."""
    is_exact = communicator.reduction is Reduction.EXACT
    return not is_exact and FLOAT32 * numbers < hosted * message


# dense: shards go to their owners, who hand the coded mean back --------------------------------


def _in_shards(
    compressor: Dense,
    communicator: Communicator,
    parts: list[Tensor],
    control: Tensor,
    where: list[int],
) -> Arrived:
    size, first = parts[0].shape[1], communicator.local_workers.start
    one = in_blocks(torch.ones_like(parts[0][0]), BLOCK)
    inside = torch.cat([one] * len(parts))  # (B, 256): 1, and 0 where blocks are padded
    counts = inside.sum(1, keepdim=True)
    blocks = torch.cat([in_blocks(part, BLOCK) for part in parts], 1)  # (K, B, 256)
    drawn = [_uniforms(compressor, inside, [*where, first + row + 1]) for row in range(len(blocks))]
    packed = torch.stack(
        [compressor.pack(b, counts, u) for b, u in zip(blocks, drawn, strict=True)]
    )
    sent = compressor.unpack(packed) * inside
    ranks = range(communicator.processes)
    bounds = [len(inside) * rank // len(ranks) for rank in (*ranks, len(ranks))]
    shards = [slice(bounds[rank], bounds[rank + 1]) for rank in ranks]
    mine, uniforms = shards[communicator.rank], _uniforms(compressor, inside, [*where, OF_ALL])
    watch = Stopwatch(packed.device)
    total, heard = _sum_of_shard(compressor, communicator, packed, sent, shards, control, watch)
    mean = (total / communicator.averaged).float() * inside[mine]
    back = packed.new_empty(0, compressor.block_bytes)
    if len(mean):
        back = compressor.pack(mean, counts[mine], None if uniforms is None else uniforms[mine])
    pieces = communicator.exchange(
        [_bytes(back) for _ in ranks],
        [(shard.stop - shard.start) * compressor.block_bytes for shard in shards],
        watch,
    )
    whole = compressor.unpack(torch.cat(pieces).view(-1, compressor.block_bytes))
    means = [own.flatten()[:size].to(parts[0]) for own in whole.chunk(len(parts))]
    payload = len(parts) * compressor.message_bytes(size)
    messages = [own.flatten(1)[:, :size].to(parts[0]) for own in sent.chunk(len(parts), 1)]
    return Arrived(Mean(means, heard, payload, watch), messages)


def _sum_of_shard(
    compressor: Dense,
    communicator: Communicator,
    packed: Tensor,
    sent: Tensor,
    shards: list[slice],
    control: Tensor,
    watch: Stopwatch,
) -> tuple[Tensor, Tensor]:
    """The sum over workers of this process's shard (b, 256), and that of the control."""
    hosted = [len(workers) for workers in communicator.placed]
    is_sum = [_sum_is_smaller(communicator, k, compressor.block_bytes, BLOCK) for k in hosted]
    is_ours = is_sum[communicator.rank]
    ours = sent.sum(0, keepdim=True).float().view(torch.uint8) if is_ours else packed
    tail, mine = _bytes(control.float()), shards[communicator.rank]
    owned = mine.stop - mine.start
    shapes = [
        (1, owned, FLOAT32 * BLOCK) if summed else (k, owned, compressor.block_bytes)
        for k, summed in zip(hosted, is_sum, strict=True)
    ]
    sizes = [k * b * width for k, b, width in shapes]
    pieces = communicator.exchange(
        [torch.cat([_bytes(ours[:, shard]), tail]) for shard in shards],
        [size + len(tail) for size in sizes],
        watch,
    )
    total = torch.zeros(owned, BLOCK, dtype=_sum_type(communicator), device=sent.device)
    heard = torch.zeros_like(control)
    for piece, size, shape, summed in zip(pieces, sizes, shapes, is_sum, strict=True):
        for message in piece[:size].view(shape):
            total += _floats(message) if summed else compressor.unpack(message)
        heard += _floats(piece[size:])
    return total, heard


def _uniforms(compressor: Dense, like: Tensor, where: list[int]) -> Tensor | None:
    if not compressor.is_random:
        return None
    drawn = generator(Purpose.COMPRESSION, *where).random(tuple(like.shape), dtype="float32")
    return torch.from_numpy(drawn).to(like.device)


# sparse: messages go to all --------------------------------------------------------------------


def _gathered(
    compressor: TopK, communicator: Communicator, parts: list[Tensor], control: Tensor
) -> Arrived:
    size, m = parts[0].shape[1], len(parts)
    kept, message = compressor.kept(size), m * compressor.message_bytes(size)
    rows = torch.stack(parts, 1).flatten(0, 1)  # (K m, D), worker by worker
    places = rows.abs().topk(kept, sorted=False).indices
    values = rows.gather(1, places)
    sent = torch.zeros_like(rows).scatter_(1, places, values)
    messages = [*sent.view(-1, m, size).unbind(1)]
    if _sum_is_smaller(communicator, max(map(len, communicator.placed)), message, m * size):
        found = communicator.mean(messages, control)
        return Arrived(found._replace(payload_bytes=message), messages)
    tail = _bytes(control.float())
    own = torch.cat([_bytes(places.int()), _bytes(values.float()), tail])
    counts = [len(workers) * m * kept for workers in communicator.placed]
    watch = Stopwatch(rows.device)
    pieces = communicator.exchange(
        [own] * communicator.processes, [(FLOAT32 + INDEX) * k + len(tail) for k in counts], watch
    )
    total = torch.zeros(m, size, dtype=_sum_type(communicator), device=rows.device)
    heard = torch.zeros_like(control)
    for piece, k in zip(pieces, counts, strict=True):
        indices, numbers, more = torch.split(piece, [INDEX * k, FLOAT32 * k, len(tail)])
        where = indices.clone().view(torch.int32).view(-1, m, kept).long()
        for place, what in zip(where, _floats(numbers).view(-1, m, kept), strict=True):
            total.scatter_add_(1, place, what.to(total))
        heard += _floats(more)
    means = [*(total / communicator.averaged).to(parts[0])]
    return Arrived(Mean(means, heard, message, watch), messages)


# sparse, the same places for all: a sum of what is there --------------------------------------


def _masked(
    compressor: RandomK,
    communicator: Communicator,
    parts: list[Tensor],
    control: Tensor,
    where: list[int],
) -> Arrived:
    size = parts[0].shape[1]
    drawn = generator(Purpose.COMPRESSION, *where, OF_ALL).choice(
        size, compressor.kept(size), replace=False, shuffle=False
    )
    places = torch.from_numpy(drawn).sort().values.to(parts[0].device)
    scale = 1.0 if compressor.error_feedback else size / len(places)
    values = [part[:, places] * scale for part in parts]
    found = communicator.mean(values, control)
    means = [
        torch.zeros_like(part[0]).index_copy_(0, places, mean)
        for part, mean in zip(parts, found.means, strict=True)
    ]
    messages = [
        torch.zeros_like(part).index_copy_(1, places, own)
        for part, own in zip(parts, values, strict=True)
    ]
    return Arrived(found._replace(means=means), messages)
