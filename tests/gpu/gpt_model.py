# SPDX-License-Identifier: Apache-2.0
"""A decoder of GPT-2's kind, in plain torch.nn."""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                 nn.Linear(4 * width, width))

    def forward(self, x, mask):
        batch, length, width = x.shape
        q, k, v = (t.reshape(batch, length, self.heads, -1).transpose(1, 2)
                   for t in self.qkv(self.before(x)).chunk(3, dim=-1))
        weights = (q @ k.transpose(-2, -1)) * (q.shape[-1] ** -0.5) + mask[:length, :length]
        attended = (weights.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(attended)
        return x + self.mlp(self.between(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, width, heads, layers):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mask", torch.full((context, context), float("-inf")).triu(1))
        self.register_buffer("places", torch.arange(context))

    def forward(self, tokens):
        x = self.token(tokens) + self.place(self.places[:tokens.shape[1]])
        for block in self.blocks:
            x = block(x, self.mask)
        return self.norm(x) @ self.token.weight.t()


def gpt(short):
    """GPT-2's smallest size: 124 million parameters; SHORT: next to nothing."""
    return GPT(500, 64, 64, 4, 2) if short else GPT(50257, 1024, 768, 12, 12)
