"""A run of objects of the user's own: they stand in it beside the keys, and records name them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from prsgd.config.build import build_run
from prsgd.config.registry import called, description
from prsgd.config.schema import Run
from prsgd.errors import UserError
from prsgd.models import given as models
from prsgd.tasks.supervised import Supervised

if TYPE_CHECKING:
    from prsgd.data.given import Given


PLACED = ("partition", "alpha")  # keys of data that go with objects too


@dataclass(frozen=True)
class Objects:
    """What `train` was given beside keys; None where a key chooses.

    `loss` is `loss(output, target)`, a scalar mean.
    """

    model: models.Given | None = None
    data: Given | None = None
    loss: Any = None

    def __bool__(self) -> bool:
        return any(own is not None for own in (self.model, self.data, self.loss))

    def _in_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with what records have in place of the objects."""
        found = dict(config)
        if self.model is not None:
            found["model"] = description("model", self.model)
        if self.data is not None:
            place = {key: found["data"][key] for key in PLACED if key in found["data"]}
            found["data"] = {**description("data", self.data), **place}
        return found

    def run(self, config: Mapping[str, Any], trusted: list[str] | None = None) -> Run:
        """The run of a configuration with the objects in place.

        One that was found in a folder may name `trusted` packages only.
        """
        run = build_run(self._in_config(config), trusted)
        if self.model is not None:
            vars(run.model)["source"] = self.model.source
        if self.data is not None:
            vars(run.data)["arrays"] = self.data.samples()
        if self.loss is not None:
            if not isinstance(run.task, Supervised):
                task = called("task", type(run.task))
                raise UserError(f"loss: task={task} has a loss of its own; leave it out")
            run.task.give(self.loss)
        return run

    def names(self) -> dict[str, str] | None:
        """Where a fresh interpreter finds the objects, as "module:name"; None where it cannot."""
        wanted = {"model": self.model and self.model.source, "loss": self.loss}
        found = {key: _name(own) for key, own in wanted.items() if own is not None}
        return found if all(found.values()) else None

    @staticmethod
    def named(names: Mapping[str, str]) -> Objects:
        """What `names` returned, imported."""
        found = {key: _imported(name) for key, name in names.items()}
        model = models.given(found["model"]) if "model" in found else None
        return Objects(model, loss=found.get("loss"))


def _name(own: Any) -> str:
    """The place of a class or function in a module that can be imported anew; else empty."""
    module, name = getattr(own, "__module__", None), getattr(own, "__qualname__", "")
    if not module or module == "__main__" or "<" in name or module not in sys.modules:
        return ""
    try:
        known = find_spec(module) is not None
        return f"{module}:{name}" if known and _imported(f"{module}:{name}") is own else ""
    except (ImportError, AttributeError, ValueError):
        return ""


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
