"""The models: small specifications that build a torch module. Importing this is free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prsgd.fields import key, whole

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Model(ABC):
    """A specification that builds a module: what the group `model` chooses."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The name in figures and tables."""

    @abstractmethod
    def build(self, size: int, classes: int) -> nn.Module:
        """A module from (b, 3, size, size) images to (b, classes) logits.

        Its parameters are drawn from torch's default generator.
        """


@dataclass
class ResNet(Model):
    """He et al.'s residual networks for CIFAR, with parameter-free shortcuts (1512.03385, 4.2)."""

    depth: int = key(20, "6n + 2: 8, 20, 32, 44, 56, 110, ...", lambda v: v >= 8 and v % 6 == 2)

    @property
    def title(self) -> str:
        return f"ResNet-{self.depth}"

    def build(self, size: int, classes: int) -> nn.Module:
        from prsgd.models.resnet import CifarResNet

        return CifarResNet(self.depth, classes)


@dataclass
class MLP(Model):
    """A perceptron with one hidden layer of rectifiers: small, and free of BatchNorm."""

    width: int = whole(64, 1)

    @property
    def title(self) -> str:
        return f"MLP-{self.width}"

    def build(self, size: int, classes: int) -> nn.Module:
        from prsgd.models.mlp import mlp

        return mlp(size, self.width, classes)
