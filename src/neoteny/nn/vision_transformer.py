"""A vision transformer for small images: ViT-Tiny with patches of 4x4."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import InitialisedModule, check_variations, initialisers_of
from neoteny.units.initialise import Initialiser

__all__ = ["VisionTransformer"]


class _Attention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V in each head, of normed inputs."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.drop_weights = nn.Dropout(dropout)
        self.project = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] of the same."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        weights = self.drop_weights((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))
        return self.drop(self.project((weights @ v).transpose(1, 2).flatten(2)))


class _Perceptron(nn.Module):
    """One hidden layer with GELU, of normed inputs."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.gelu, self.drop_hidden = nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)
        self.down, self.drop = nn.Linear(hidden, width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] of the same."""
        return self.drop(self.down(self.drop_hidden(self.gelu(self.up(self.norm(x))))))


class _Block(nn.Module):
    """x + attention(x), then x + perceptron(x)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = _Attention(width, heads, dropout)
        self.perceptron = _Perceptron(width, hidden, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] of the same."""
        x = x + self.attention(x)
        return x + self.perceptron(x)


class VisionTransformer(InitialisedModule):
    """Tokens of patches and one for the class, blocks of attention and perceptron, and a linear output.

    Each patch's pixels go through a norm, a linear layer and a norm; a learned token for the class is put in front and
    learned positions are added. Norms stand in front of attention and perceptron and at the end, where the class's
    token is read. Dropout follows the positions, the attention weights and every linear layer of a block. By default it
    is ViT-Tiny of 32x32 pixels: patches of 4x4, width 192, 12 blocks of 3 heads.

    As in the authors' code, linear layers are torch's default initialisation, tokens and positions standard normal,
    and queries, keys and values have no biases.

    Args:
        outputs: number of classes.
        pixels: the side of the images.
        patch: the side of a patch, a divisor of `pixels`.
        width: numbers of a token.
        depth: blocks.
        heads: of an attention; a divisor of `width`.
        hidden: size of a perceptron's hidden layer.
        dropout: the probability with which a number is dropped in training.

    Attributes:
        SMALL: sizes for a computer with two cores.

    Shapes: inputs [batch, 3, pixels, pixels], outputs [batch, outputs].

    Raises:
        SettingError: a size below 1, a patch that does not divide the side, heads that do not divide the width, or a
            dropout outside [0, 1).

    >>> net = VisionTransformer(outputs=10, **VisionTransformer.SMALL)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Source: Dosovitskiy et al., ICLR 2021, Eq. 1-4; Touvron et al., ICML 2021, Table 1 (the sizes of ViT-Tiny); Lee et
    al., ICML 2024, and the authors' public `Hare-Tortoise`.
    """

    SMALL: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 64, "depth": 4, "heads": 2, "hidden": 128})

    def __init__(
        self,
        outputs: int = 100,
        pixels: int = 32,
        patch: int = 4,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        hidden: int = 768,
        dropout: float = 0.1,
    ):
        sizes = {"outputs": outputs, "pixels": pixels, "patch": patch, "width": width}
        sizes |= {"depth": depth, "heads": heads, "hidden": hidden}
        for name, size in sizes.items():
            if size < 1:
                raise SettingError(f"{name} = {size}: sizes must be at least 1.")
        for name, divisor in (("pixels", "patch"), ("width", "heads")):
            if sizes[name] % sizes[divisor]:
                raise SettingError(
                    f"{divisor} = {sizes[divisor]} does not divide {name} = {sizes[name]}: give a divisor of it."
                )
        check_variations(None, dropout)
        super().__init__()
        self.patch = patch
        self.embed = nn.Sequential(nn.LayerNorm(3 * patch**2), nn.Linear(3 * patch**2, width), nn.LayerNorm(width))
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, (pixels // patch) ** 2 + 1, width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_Block(width, heads, hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, outputs)
        drawn = {"token": Initialiser("normal", 1.0), "position": Initialiser("normal", 1.0)}
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                own = initialisers_of(module, "default", gain=1.0)
                drawn |= {f"{name}.{parameter}": initialiser for parameter, initialiser in own.items()}
        self.initialisers = {name: drawn[name] for name, _ in self.named_parameters()}
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """The output [batch, outputs] for images [batch, 3, pixels, pixels]."""
        patches = x.unflatten(-1, (-1, self.patch)).unflatten(-3, (-1, self.patch))  # [batch, 3, rows, p, columns, p]
        x = self.embed(patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.fc(self.norm(self.blocks(self.drop(x)))[:, 0])
