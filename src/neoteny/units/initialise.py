"""How a parameter was drawn when the network was made, and how to draw it anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Initialiser:
    """The distribution that a parameter's entries were drawn from, independently.

    Args:
        kind: `uniform` on [-scale, scale], `normal` with mean 0 and standard deviation `scale`, or `constant`.
        scale: bound, standard deviation or value.

    >>> Initialiser.kaiming_uniform(fan_in=6)
    Initialiser(kind='uniform', scale=1.0)
    """

    kind: Literal["uniform", "normal", "constant"]
    scale: float

    @classmethod
    def kaiming_uniform(cls, fan_in: int, gain: float = math.sqrt(2)) -> Initialiser:
        """Uniform with variance gain^2 / fan_in (He et al. 2015, Eq. 10)."""
        return cls("uniform", gain * math.sqrt(3 / fan_in))

    @classmethod
    def kaiming_normal(cls, fan_in: int, gain: float = math.sqrt(2)) -> Initialiser:
        """Normal with variance gain^2 / fan_in (He et al. 2015, Eq. 10)."""
        return cls("normal", gain / math.sqrt(fan_in))

    @classmethod
    def xavier_uniform(cls, fan_in: int, fan_out: int, gain: float = 1.0) -> Initialiser:
        """Uniform with variance 2 gain^2 / (fan_in + fan_out) (Glorot and Bengio 2010, Eq. 16)."""
        return cls("uniform", gain * math.sqrt(6 / (fan_in + fan_out)))

    @classmethod
    def lecun_uniform(cls, fan_in: int) -> Initialiser:
        """Uniform with variance 1 / fan_in (LeCun et al. 1998)."""
        return cls("uniform", math.sqrt(3 / fan_in))

    @classmethod
    def torch_default(cls, fan_in: int) -> Initialiser:
        """What `nn.Linear` and the convolutions draw, weights and biases alike: uniform on +-1/sqrt(fan_in)."""
        return cls("uniform", 1 / math.sqrt(fan_in))

    def draw(self, key: Tensor, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
        """Fresh values of `shape` as a pure function of `key` (see `neoteny.units.random`), float32.

        With `rows`, indices of dimension 0, only these, `[rows, *shape[1:]]`.
        """
        import torch

        from neoteny.units import random

        match self.kind:
            case "uniform":
                return (random.uniform(key, shape, rows) * 2 - 1) * self.scale
            case "normal":
                return random.normal(key, shape, rows) * self.scale
            case "constant":
                drawn = tuple(shape) if rows is None else (rows.shape[0], *shape[1:])
                return torch.full(drawn, self.scale, device=key.device)

    def fill_(self, tensor: Tensor) -> Tensor:
        """Fill `tensor` in place from torch's global generator, as `torch.nn.init` does; returns it."""
        import torch

        with torch.no_grad():
            match self.kind:
                case "uniform":
                    return tensor.uniform_(-self.scale, self.scale)
                case "normal":
                    return tensor.normal_(0, self.scale)
                case "constant":
                    return tensor.fill_(self.scale)
