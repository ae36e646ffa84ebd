"""The models: small specifications that build a torch module. Importing this is free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

from prsgd.errors import UserError
from prsgd.fields import choice, fraction, key, whole

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Model(ABC):
    """A specification that builds a module: what the group `model` chooses."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The name in figures and tables."""

    @property
    def draws(self) -> bool:
        """Whether a forward pass in training draws random numbers, as dropout does."""
        return False

    @property
    def origin(self) -> str:
        """What an error calls a model that is not prsgd's own."""
        return f"model._target_={type(self).__module__}.{type(self).__qualname__}"

    def check(self) -> str:
        """What its keys say against each other, as "KEY=VALUE: must be ..."; empty if nothing."""
        return ""

    def asked(self) -> list[str]:
        """The facts that `build` asks for."""
        return [*signature(self.build).parameters]

    @abstractmethod
    def build(self, *facts: Any, **named: Any) -> nn.Module:
        """The module, its parameters drawn from torch's default generator.

        It asks for facts of task and data by the names of its own parameters. Of images: `size` and
        `classes`, for (b, 3, size, size) images to (b, classes) logits. Of text: `vocabulary` and
        `context`, for (b, context) tokens to (b, context, vocabulary) logits. Of samples: their
        `shape`, and `classes` where there are any, for (b, *shape) samples to (b, classes) logits.
        Of images and samples: `features` and `outputs`, how many numbers go in and come out.
        """


def build_by_name(model: Model, facts: Mapping[str, Any]) -> nn.Module:
    """The module, with the facts that it asks for; `UserError` where nobody tells them."""
    if missing := [name for name in model.asked() if name not in facts]:
        raise UserError(
            f"model: {model.title} asks for {', '.join(missing)}, and the task tells "
            f"{', '.join(facts)}; choose a model or a task that fits"
        )
    return model.build(**{name: facts[name] for name in model.asked()})


@dataclass
class ResNet(Model):
    """He et al.'s residual networks for CIFAR, with parameter-free shortcuts (1512.03385, 4.2)."""

    depth: int = key(20, "6n + 2: 8, 20, 32, 44, 56, 110, ...", lambda v: v >= 8 and v % 6 == 2)
    norm: str = choice("batch", "batch", "group")

    @property
    def title(self) -> str:
        return f"ResNet-{self.depth}" + (" with GroupNorm" if self.norm == "group" else "")

    def build(self, size: int, classes: int) -> nn.Module:
        from prsgd.models.resnet import CifarResNet

        return CifarResNet(self.depth, classes, self.norm)


@dataclass
class MLP(Model):
    """A perceptron with one hidden layer of rectifiers: small, and free of BatchNorm."""

    width: int = whole(64, 1)

    @property
    def title(self) -> str:
        return f"MLP-{self.width}"

    def build(self, features: int, outputs: int) -> nn.Module:
        from prsgd.models.mlp import mlp

        return mlp(features, self.width, outputs)


@dataclass
class GPT(Model):
    """A decoder of pre-norm blocks with tied embeddings (Radford et al. 2019), without biases."""

    depth: int = whole(4, 1)
    width: int = whole(128, 1)
    heads: int = whole(4, 1)
    dropout: float = fraction(0.0, one=False)

    @property
    def title(self) -> str:
        return f"GPT-{self.depth}x{self.width}"

    @property
    def draws(self) -> bool:
        return self.dropout > 0

    def check(self) -> str:
        if self.width % self.heads:
            return f"heads={self.heads}: must divide model.width={self.width}"
        return ""

    def build(self, vocabulary: int, context: int) -> nn.Module:
        from prsgd.models.gpt import Decoder

        return Decoder(vocabulary, context, self.depth, self.width, self.heads, self.dropout)
