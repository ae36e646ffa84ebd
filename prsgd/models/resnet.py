"""The CIFAR residual networks of He et al. (1512.03385, section 4.2).

Three stages of n basic blocks with 16, 32 and 64 channels, depth 6n + 2. Shortcuts have no
parameters: where the shape changes they take every second pixel and pad the channels with zeros
(option A). Weights are drawn as in He et al. (1502.01852): normal, variance 2 / fan-in. BatchNorm
follows convolutions, as there, or GroupNorm (Wu and He, 1803.08494), which knows no batch.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 8  # channels that GroupNorm takes together


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": group_norm}


def conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = NORMS[norm](outputs)
        self.conv2 = conv3x3(outputs, outputs, 1)
        self.bn2 = NORMS[norm](outputs)
        self.stride = stride
        self.added = outputs - inputs

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        half = self.added // 2
        x = F.avg_pool2d(x, 1, self.stride)  # every second pixel, with a channels-last gradient
        return F.pad(x, (0, 0, 0, 0, half, self.added - half))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y.add_(self.shortcut(x)), inplace=True)


class CifarResNet(nn.Module):
    """(b, 3, h, w) images to (b, classes) logits; depth = 6n + 2."""

    def __init__(self, depth: int, classes: int, norm: str = "batch") -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv = conv3x3(3, 16, 1)
        self.bn = NORMS[norm](16)
        widths = [16] * n + [32] * n + [64] * n
        self.blocks = nn.Sequential(
            *(
                BasicBlock(before, after, 1 if before == after else 2, norm)
                for before, after in pairwise([16, *widths])
            )
        )
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)), inplace=True)
        x = self.blocks(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
