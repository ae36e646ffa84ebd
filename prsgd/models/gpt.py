"""A small GPT: tokens to logits of the tokens that follow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STD = 0.02  # of the first weights


class Decoder(nn.Module):
    """(b, c) tokens to (b, c, vocabulary) logits, c at most `context`."""

    def __init__(
        self, vocabulary: int, context: int, depth: int, width: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:  # those that end a branch grow with depth
                std = STD / (2 * depth) ** 0.5 if name.endswith("out.weight") else STD
                nn.init.normal_(parameter, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.tokens(tokens) + self.places(places))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


class Block(nn.Module):
    """Attention to what came before, and a perceptron, each on the norm and added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.perceptron = Perceptron(width, dropout)
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        found: Tensor = x + self.perceptron(self.norm2(x))
        return found


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.within = dropout
        self.into = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropped = self.within if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=True)
        mixed: Tensor = self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return mixed


class Perceptron(nn.Module):
    """One hidden layer of four times the width."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.into = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.dropout(self.out(F.gelu(self.into(x))))
        return found
