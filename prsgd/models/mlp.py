"""A perceptron with one hidden layer."""

from torch import nn


def mlp(size: int, width: int, classes: int) -> nn.Module:
    """(b, 3, size, size) images to (b, classes) logits; weights normal, variance 2 / fan-in."""
    layers = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * size * size, width), nn.ReLU(), nn.Linear(width, classes)
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return layers
