"""How what a worker sends is represented: what the group `compression` chooses.

A worker sends its rows less a point that all know. Importing this is free.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prsgd.distributed.wire import wire_bytes
from prsgd.fields import choice, flag, fraction, share

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 256  # numbers that share a scale
SCALE = 4  # bytes of a scale, which is float32
FLOAT32 = 4
INDEX = 4  # bytes of a place, which is an int32
MOST = 2**48  # numbers of a vector


@dataclass
class Compression(ABC):
    """A representation of vectors of D numbers."""

    is_summed: ClassVar[bool] = False  # whether plain numbers travel, as the reduction has them

    @abstractmethod
    def message_bytes(self, numbers: int) -> int:
        """What a worker hands over for a vector of so many numbers."""

    def wire_bytes(self, payload: int, processes: int, hosted: int = 1) -> int:
        """What each of P processes sends so that all have the mean of what workers hand over.

        A ring sends 2 (P-1)/P of a worker's payload, however many workers a process hosts.
        """
        return wire_bytes(payload, processes)

    def hops(self, processes: int) -> int:
        """Messages that a process waits for, one after another: those of a ring's two rounds."""
        return 2 * (processes - 1)

    def _sum_bytes(self, payload: int) -> int:
        """Of the numbers of which a message has `payload` bytes, as they are."""
        return FLOAT32 * (bisect_right(range(MOST), payload, key=self.message_bytes) - 1)


@dataclass
class Uncompressed(Compression):
    """The numbers themselves."""

    is_summed: ClassVar[bool] = True

    def message_bytes(self, numbers: int) -> int:
        return FLOAT32 * numbers


@dataclass
class Lossy(Compression):
    """A representation that loses something. What it loses may be sent in a later round.

    With error feedback e_i, which is 0 at first, worker i sends C(Δ_i + β e_i), and then e_i is
    Δ_i + β e_i less what that means. β is 1, or less as in SparseLoCo.
    """

    error_feedback: bool = flag(False)
    residual_decay: float = fraction(1.0, one=True, kw_only=True)  # β


@dataclass
class Dense(Lossy):
    """A code of so many bits for each number. Blocks of 256 numbers are coded on their own.

    Shards of all messages go to their owners, which decode them, average, code the mean, and hand
    it back.
    """

    bits: ClassVar[int]
    scale_bytes: ClassVar[int] = SCALE  # for each block

    @property
    def block_bytes(self) -> int:
        return BLOCK * self.bits // 8 + self.scale_bytes

    @property
    def is_random(self) -> bool:
        """Whether coding takes random numbers."""
        return False

    def message_bytes(self, numbers: int) -> int:
        return self.block_bytes * -(-numbers // BLOCK)

    def wire_bytes(self, payload: int, processes: int, hosted: int = 1) -> int:
        """Messages to the owners of shards, or the sum of them where that is smaller; and back."""
        there = min(hosted * payload, self._sum_bytes(payload))
        return (processes - 1) * (there + payload) // processes

    def hops(self, processes: int) -> int:
        return 2

    @abstractmethod
    def pack(self, blocks: Tensor, counts: Tensor, uniforms: Tensor | None) -> Tensor:
        """(..., B, 256) float32 as (..., B, block_bytes) uint8.

        `counts` (B, 1) are the numbers of each block that are no padding, and `uniforms` (B, 256)
        are in [0, 1).
        """

    @abstractmethod
    def unpack(self, packed: Tensor) -> Tensor:
        """What `pack` returned, decoded."""


@dataclass
class BF16(Dense):
    """The nearest bfloat16."""

    bits: ClassVar[int] = 16
    scale_bytes: ClassVar[int] = 0

    def pack(self, blocks: Tensor, counts: Tensor, uniforms: Tensor | None) -> Tensor:
        from prsgd.distributed import codes

        return codes.pack_bf16(blocks)

    def unpack(self, packed: Tensor) -> Tensor:
        from prsgd.distributed import codes

        return codes.unpack_bf16(packed)


@dataclass
class Integers(Dense):
    """Whole multiples of a block's largest magnitude over 2^(bits - 1) - 1.

    Stochastic rounding goes up with the probability of what is left over, so that the mean over
    draws is the number itself.
    """

    rounding: str = choice("nearest", "nearest", "stochastic")

    @property
    def is_random(self) -> bool:
        return self.rounding == "stochastic"

    def pack(self, blocks: Tensor, counts: Tensor, uniforms: Tensor | None) -> Tensor:
        from prsgd.distributed import codes

        return codes.pack_integers(blocks, self.bits, uniforms)

    def unpack(self, packed: Tensor) -> Tensor:
        from prsgd.distributed import codes

        return codes.unpack_integers(packed, self.bits)


@dataclass
class Int8(Integers):
    """-127 .. 127."""

    bits: ClassVar[int] = 8


@dataclass
class Int4(Integers):
    """-7 .. 7."""

    bits: ClassVar[int] = 4


@dataclass
class Sign(Dense):
    """The sign of each number, times the mean magnitude of its block."""

    bits: ClassVar[int] = 1
    error_feedback: bool = flag(True)

    def pack(self, blocks: Tensor, counts: Tensor, uniforms: Tensor | None) -> Tensor:
        from prsgd.distributed import codes

        return codes.pack_signs(blocks, counts)

    def unpack(self, packed: Tensor) -> Tensor:
        from prsgd.distributed import codes

        return codes.unpack_signs(packed)


@dataclass
class Sparse(Lossy):
    """A share of the numbers. The others count as 0."""

    error_feedback: bool = flag(True)
    ratio: float = share(0.01)  # of the numbers, that are sent

    def kept(self, numbers: int) -> int:
        """How many of so many numbers are sent."""
        return max(1, round(self.ratio * numbers))


@dataclass
class TopK(Sparse):
    """The largest magnitudes, each with its place. All messages go to all."""

    def message_bytes(self, numbers: int) -> int:
        return (FLOAT32 + INDEX) * self.kept(numbers)

    def wire_bytes(self, payload: int, processes: int, hosted: int = 1) -> int:
        """Messages to all others, or a ring's sum of them where that is smaller."""
        whole = self._sum_bytes(payload)
        if whole < hosted * payload:
            return wire_bytes(whole, processes)
        return (processes - 1) * hosted * payload

    def hops(self, processes: int) -> int:
        return 1


@dataclass
class RandomK(Sparse):
    """Places that are drawn from seed and step, and so the same for all: only numbers travel.

    Without error feedback they are divided by the share, so that the mean over draws is right.
    """

    is_summed: ClassVar[bool] = True

    def message_bytes(self, numbers: int) -> int:
        return FLOAT32 * self.kept(numbers)


KINDS = (Uncompressed, Dense, TopK, RandomK)  # each travels in a way of its own
