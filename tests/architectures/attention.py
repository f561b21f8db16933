"""Transformers written by hand or of `torch.nn`, gated perceptrons, and the mixer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from architectures.architecture import TOKENS, Architecture
from architectures.convolutions import images


def tokens(batch, length):
    return torch.randint(TOKENS, (batch, length))


def sequences(batch, length):
    return torch.randn(batch, length, 3)


class Attention(nn.Module):
    """Queries, keys and values of one linear layer; two heads."""

    def __init__(self, width, causal):
        super().__init__()
        self.qkv, self.project, self.causal = nn.Linear(width, 3 * width), nn.Linear(width, width), causal

    def forward(self, x):
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in parts)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.project(x.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class SwiGLU(nn.Module):
    """silu(gate) * up, from two linear layers."""

    def __init__(self, width):
        super().__init__()
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class FusedSwiGLU(nn.Module):
    """The same from one linear layer, whose first half is the gate."""

    def __init__(self, width):
        super().__init__()
        self.gate_up, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width, perceptron, norm, causal):
        super().__init__()
        self.norm1, self.attention = norm(width), Attention(width, causal)
        self.norm2, self.perceptron = norm(width), perceptron(width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.perceptron(self.norm2(x))


class GPT(nn.Module):
    """A stack of causal blocks on tokens."""

    def __init__(self, width, length, *, perceptron=Perceptron, norm=nn.LayerNorm, tied=False):
        super().__init__()
        self.token, self.position = nn.Embedding(TOKENS, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(Block(width, perceptron, norm, True), Block(width, perceptron, norm, True))
        self.norm, self.head = norm(width), nn.Linear(width, TOKENS, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, x):
        x = self.token(x) + self.position(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(x)))


class ViT(nn.Module):
    """Patches by a convolution, a class token and positions as bare parameters."""

    def __init__(self, width, side):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (side // 4) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, Perceptron, nn.LayerNorm, False) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class Encoder(nn.Module):
    """`nn.TransformerEncoder` between two linear layers."""

    def __init__(self, width, *, norm_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.1, batch_first=True, norm_first=norm_first)
        self.embed, self.out = nn.Linear(3, width), nn.Linear(width, 2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.out(self.encoder(self.embed(x)).mean(1))


class MixerBlock(nn.Module):
    """One perceptron over the patches, one over the channels."""

    def __init__(self, width, patches):
        super().__init__()
        self.norm1, self.up1, self.down1 = nn.LayerNorm(width), nn.Linear(patches, 6), nn.Linear(6, patches)
        self.norm2, self.up2, self.down2 = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.down1(F.gelu(self.up1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        return x + self.down2(F.gelu(self.up2(self.norm2(x))))


class Mixer(nn.Module):
    def __init__(self, width, side):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(width, (side // 4) ** 2) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(1))


def in_blocks(**sizes):
    """Layers of both blocks, by their name there."""
    return {f"blocks.{i}.{name.replace('__', '.')}": size for i in range(2) for name, size in sizes.items()}


VALUES, PERCEPTRON = {"attention__qkv": 4}, {"perceptron__up": 8}
STREAM = "+".join(f"blocks.{i}.{part}" for i in range(2) for part in ("attention.project", "perceptron.down"))

ADDED = (f"encoder.layers.{i}.{part}" for i in range(2) for part in ("self_attn.out_proj", "linear2"))
ENCODED = {"+".join(["embed", *ADDED]): 4}
INSIDE = {f"encoder.layers.{i}.self_attn.value": "inside" for i in range(2)}

ATTENTION = {
    "TransformerEncoder, post-norm": Architecture(
        lambda width, length: Encoder(width, norm_first=False), sequences, (4, 5), (64, 32), 16,
        {f"encoder.layers.{i}.linear1": 8 for i in range(2)}, ENCODED, INSIDE,
    ),
    "TransformerEncoder, pre-norm": Architecture(
        lambda width, length: Encoder(width, norm_first=True), sequences, (4, 5), (64, 32), 16,
        {f"encoder.layers.{i}.linear1": 8 for i in range(2)}, ENCODED, INSIDE,
    ),
    "ViT": Architecture(
        ViT, images, (4, 8), (64, 32), 16, in_blocks(**VALUES, **PERCEPTRON), {f"patches+{STREAM}": 4},
        bare=("token", "position"),
    ),
    "GPT": Architecture(
        GPT, tokens, (4, 5), (64, 64), 8, in_blocks(**VALUES, **PERCEPTRON), {f"token+position+{STREAM}": 4},
    ),
    "GPT, tied embedding": Architecture(
        lambda width, length: GPT(width, length, tied=True), tokens, (4, 5), (64, 64), 8,
        in_blocks(**VALUES, **PERCEPTRON),
        left_out={"token": "shares", "position": "token", "blocks.0.perceptron.down": "token"},
    ),
    "LLaMA-like, SwiGLU": Architecture(
        lambda width, length: GPT(width, length, perceptron=SwiGLU, norm=nn.RMSNorm), tokens, (4, 5), (64, 64), 8,
        {name: size for i in range(2) for name, size in (
            (f"blocks.{i}.attention.qkv", 4), (f"blocks.{i}.perceptron.gate+blocks.{i}.perceptron.up", 8))},
        {f"token+position+{STREAM}": 4},
    ),
    "LLaMA-like, fused SwiGLU": Architecture(
        lambda width, length: GPT(width, length, perceptron=FusedSwiGLU, norm=nn.RMSNorm), tokens, (4, 5), (64, 64), 8,
        in_blocks(attention__qkv=4, perceptron__gate_up=8), {f"token+position+{STREAM}": 4},
    ),
    "MLP-Mixer": Architecture(
        Mixer, images, (4, 8), (64, 32), 16, in_blocks(up1=6, up2=8),
        left_out={"patches": "several", "blocks.0.down1": "several", "blocks.0.down2": "several"},
    ),
}  # fmt: skip
