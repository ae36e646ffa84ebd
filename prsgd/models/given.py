"""A model that was handed over in Python."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from prsgd.errors import UserError
from prsgd.fields import text
from prsgd.models import Model
from prsgd.models.digest import NONE, digest_of_model

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Given(Model):
    """A module, or a class or function that makes one. A record has its name only.

    And a digest, by which figures tell apart what has the same name.
    """

    of: str = text("", "the name of an object of Python's")
    digest: str = text(NONE, "8 digits of what a module or a function consists of")

    def __post_init__(self) -> None:
        self.source: Any = None

    @property
    def title(self) -> str:
        return self.of

    @property
    def origin(self) -> str:
        return f"model={self.of}"

    def asked(self) -> list[str]:
        """The parameters without a default of what makes the module."""
        if not _makes_modules(self.source):
            return []
        try:
            parameters = signature(self.source).parameters.values()
        except ValueError:  # of something written in C
            return []
        variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        return [p.name for p in parameters if p.default is p.empty and p.kind not in variable]

    def build(self, **facts: Any) -> nn.Module:
        """A copy of the module, with its weights, or a new one."""
        if self.source is None:
            raise UserError(
                f"model={self.of}: was an object of Python's; "
                f"prsgd.train(model={self.of}, ..., resume=FOLDER) goes on with it"
            )
        module: nn.Module
        module = self.source(**facts) if _makes_modules(self.source) else copy.deepcopy(self.source)
        return module


def given(source: Any) -> Given:
    """The model behind an object: a module, or what makes one when it is called."""
    from torch import nn

    if not isinstance(source, nn.Module) and not callable(source):
        raise UserError(f"model={source!r}: must be a name, a module, or a class that makes one")
    named = type(source) if isinstance(source, nn.Module) else source
    name = getattr(named, "__name__", type(named).__name__)
    model = Given(name, digest_of_model(source))
    model.source = source
    return model


def _makes_modules(source: Any) -> bool:
    from torch import nn

    return source is not None and not isinstance(source, nn.Module)
