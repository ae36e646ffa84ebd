"""Text from a trained language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.inference_mode()
def sample(
    model: nn.Module, prompt: list[int], count: int, context: int, temperature: float, seed: int
) -> list[int]:
    """`count` tokens that go on from a prompt, each drawn from softmax(logits / temperature).

    The model sees the last `context` tokens. A temperature of 0 takes the likeliest token.
    """
    random = torch.Generator().manual_seed(seed)
    tokens: Tensor = torch.tensor(prompt)
    for _ in range(count):
        logits = model(tokens[None, -context:])[0, -1].float()
        if temperature:
            shares = torch.softmax(logits / temperature, 0)
            following = torch.multinomial(shares, 1, generator=random)
        else:
            following = logits.argmax(0, keepdim=True)
        tokens = torch.cat([tokens, following])
    drawn: list[int] = tokens[len(prompt) :].tolist()
    return drawn
