"""Modules of which only the shapes are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

DRAWS = (Tensor.normal_, init.normal_)


class Unfilled(TorchFunctionMode):
    """Leaves meta tensors alone where normal numbers are drawn.

    There is nothing to fill, and torch would load its compiler for it, which takes two seconds.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        if function in DRAWS:
            tensor: Tensor = arguments[0] if arguments else named["tensor"]
            if tensor.is_meta:
                return tensor
        return function(*arguments, **named)
