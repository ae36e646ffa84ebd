"""A perceptron with one hidden layer."""

from torch import Tensor, nn


class Flat(nn.Module):
    """Samples (b, ...) of numbers of any type as floats (b, features)."""

    def forward(self, x: Tensor) -> Tensor:
        floats = x if x.is_floating_point() else x.float()
        return floats.reshape(len(x), -1)


def mlp(features: int, width: int, outputs: int) -> nn.Module:
    """(b, ...) of so many features to (b, outputs); weights normal, variance 2 / fan-in."""
    layers = nn.Sequential(Flat(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return layers
