"""How a parameter was drawn when the network was made, and how to draw it anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Initialiser:
    """How a parameter's entries are drawn.

    Args:
        kind: `uniform` on [-scale, scale], `normal` with mean `mean` and standard deviation `scale`, `sign` (-scale or
            scale, each with probability 1/2), `constant`, or `function`; all but the last independently.
        scale: bound, standard deviation or value.
        mean: of a normal distribution.
        zeros: where a parameter is 0 by construction (sparse or structured initialisation), a bool mask of its shape;
            there it stays 0.
        function: for `function`; see `by`.
        sparsity: share of each row, of the entries with one index in dimension 0, that is 0: ceil(sparsity n) of n
            entries, but not all of them, drawn anew with the rest.
        alike: whether these are the same in all rows.
        orthogonal: whether the first matrix has orthonormal rows or columns, times a gain. What is drawn anew later has
            the distribution of its entries, independently.

    >>> Initialiser.kaiming_uniform(fan_in=6)
    Initialiser(kind='uniform', scale=1.0)
    """

    kind: Literal["uniform", "normal", "sign", "constant", "function"]
    scale: float = math.nan
    mean: float = 0.0
    zeros: Tensor | None = field(default=None, compare=False)
    function: Callable[[Tensor], object] | None = None
    sparsity: float = 0.0
    alike: bool = False
    orthogonal: bool = False

    def __repr__(self) -> str:
        told = f"kind={self.kind!r}"
        if self.function is not None:
            return f"Initialiser({told}, function={getattr(self.function, '__name__', self.function)})"
        told += f", scale={self.scale!r}" + (f", mean={self.mean!r}" if self.mean else "")
        told += f", sparsity={self.sparsity}" if self.sparsity else ""
        told += ", orthogonal=True" if self.orthogonal else ""
        return f"Initialiser({told}{', zeros=...' if self.zeros is not None else ''})"

    @classmethod
    def by(cls, function: Callable[[Tensor], object]) -> Initialiser:
        """Whatever a function makes of a tensor: it fills the tensor in place, or returns another one of its shape.

        Functions of `torch.nn.init` do; torch's generators are as before afterwards. What it draws is the same for the
        same key.

        >>> import torch
        >>> from neoteny.units import random
        >>> Initialiser.by(torch.nn.init.eye_).draw(random.key(0), (2, 2))
        tensor([[1., 0.],
                [0., 1.]])
        """
        return cls("function", function=function)

    @property
    def middle(self) -> float:
        """The mean of the entries; 0 for a function, of which it is not known."""
        return self.scale if self.kind == "constant" else self.mean

    @property
    def whole(self) -> bool:
        """Whether the parameter must be drawn as a whole, since its entries are not alike."""
        return self.function is not None or self.zeros is not None or self.sparsity > 0

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
    def orthogonal_matrix(cls, fan_in: int, fan_out: int, gain: float = 1.0) -> Initialiser:
        """A matrix with W'W = gain^2 I or W W' = gain^2 I (Saxe et al. 2014).

        >>> import torch
        >>> w = Initialiser.orthogonal_matrix(fan_in=3, fan_out=2).fill_(torch.zeros(2, 3))
        >>> (w @ w.T).round(decimals=5).abs().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        return cls("normal", gain / math.sqrt(max(fan_in, fan_out)), orthogonal=True)

    @classmethod
    def torch_default(cls, fan_in: int) -> Initialiser:
        """What `nn.Linear` and the convolutions draw, weights and biases alike: uniform on +-1/sqrt(fan_in)."""
        return cls("uniform", 1 / math.sqrt(fan_in))

    def draw(self, key: Tensor, shape: Sequence[int], rows: Tensor | None = None) -> Tensor:
        """Fresh values of `shape` as a pure function of `key` (see `neoteny.units.random`), float32.

        With `rows`, indices of dimension 0, only these, `[rows, *shape[1:]]`. What must be drawn as a whole takes the
        parameter's own shape.
        """
        import torch

        from neoteny.units import random

        if self.whole:
            drawn = (
                self._function_of(key, shape)
                if self.function is not None
                else replace(self, zeros=None, sparsity=0.0).draw(key, shape)
            )
            if self.sparsity:
                lots = random.uniform(random.fold_in(key, 1), self._lots(shape))
                drawn = drawn.masked_fill(self._chosen(lots, shape), 0.0)
            drawn = drawn if self.zeros is None else drawn.masked_fill(self.zeros.to(drawn.device), 0.0)
            return drawn if rows is None else drawn[rows]
        match self.kind:
            case "uniform":
                return (random.uniform(key, shape, rows) * 2 - 1) * self.scale
            case "normal":
                drawn = random.normal(key, shape, rows) * self.scale
                return drawn + self.mean if self.mean else drawn
            case "sign":
                drawn = random.uniform(key, shape, rows)
                return torch.where(drawn < 0.5, -self.scale, self.scale)
            case _:
                whole = tuple(shape) if rows is None else (rows.shape[0], *shape[1:])
                return torch.full(whole, self.scale, device=key.device)

    def _lots(self, shape: Sequence[int]) -> tuple[int, int]:
        """How many random numbers decide which entries are 0: rows, and entries of a row."""
        return 1 if self.alike else shape[0], math.prod(shape[1:])

    def _chosen(self, lots: Tensor, shape: Sequence[int]) -> Tensor:
        """Which entries are 0: in each row those with the smallest lots; it broadcasts against `shape`."""
        entries = lots.shape[1]
        count = min(math.ceil(self.sparsity * entries - 1e-9), entries - 1)  # 0.9 * 110 is a little more than 99
        return (lots.argsort(-1).argsort(-1) < count).view(-1, *shape[1:])

    def _function_of(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        import torch

        assert self.function is not None
        high, low = key.tolist()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            # Not `torch.manual_seed`, which would seed GPUs as well.
            torch.default_generator.manual_seed((high & 0xFFFFFFFF) << 31 ^ (low & 0xFFFFFFFF))
            tensor = torch.zeros(tuple(shape))  # on the CPU: the same on every device
            given = self.function(tensor)
        return (given if isinstance(given, torch.Tensor) else tensor).detach().to(key.device)

    def fill_(self, tensor: Tensor) -> Tensor:
        """Fill `tensor` in place from torch's global generator, as `torch.nn.init` does; returns it."""
        import torch

        with torch.no_grad():
            if self.function is not None:
                given = self.function(tensor)
                return tensor.copy_(given) if isinstance(given, torch.Tensor) else tensor
            if self.zeros is not None:
                return replace(self, zeros=None).fill_(tensor).masked_fill_(self.zeros.to(tensor.device), 0.0)
            if self.sparsity:
                replace(self, sparsity=0.0).fill_(tensor)
                lots = torch.rand(self._lots(tensor.shape), device=tensor.device)
                return tensor.masked_fill_(self._chosen(lots, tensor.shape), 0.0)
            if self.orthogonal:
                rows = tensor.shape[0]
                gain = self.scale * math.sqrt(max(rows, tensor.numel() // rows))
                return torch.nn.init.orthogonal_(tensor, gain)
            match self.kind:
                case "uniform":
                    return tensor.uniform_(-self.scale, self.scale)
                case "normal":
                    return tensor.normal_(self.mean, self.scale)
                case "sign":
                    return tensor.bernoulli_(0.5).mul_(2).sub_(1).mul_(self.scale)
                case _:
                    return tensor.fill_(self.scale)
