"""A row of parameters in fragments. Pure arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from prsgd.errors import UserError


def cut(sizes: Sequence[int], count: int) -> list[slice]:
    """The numbers of successive parameters in `count` fragments, the largest as small as can be.

    `sizes` are the numbers of each parameter. A `UserError` if there are fewer than fragments.
    """
    if count > len(sizes):
        raise UserError(
            f"fragments={count}: must be at most {len(sizes)}, the parameter tensors of this model"
        )
    borders = [0, *accumulate(sizes)]

    def ends(largest: int) -> list[int]:
        """Where fragments end that take what fits, and leave one parameter to each that follows."""
        found = [0]
        for following in reversed(range(count)):
            end = found[-1] + 1
            while end < len(sizes) - following and borders[end + 1] - borders[found[-1]] <= largest:
                end += 1
            found.append(end)
        return found

    least, most = max(sizes), borders[-1]
    enough = bisect_left(range(least, most), True, key=lambda size: ends(size)[-1] == len(sizes))
    return [slice(borders[i], borders[j]) for i, j in pairwise(ends(least + enough))]
