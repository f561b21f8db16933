"""FIRE: at a change of task, replace every weight matrix by the nearest isometry.

Han, Park, Oh, Kim, Lee & Kim, "FIRE: Frobenius-isometry reinitialization for balancing the stability-plasticity
tradeoff", ICLR 2026, arXiv 2602.08040.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_count, require_fraction
from neoteny.errors import SettingError, UnknownNameError
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.boundary import BoundaryReset
from neoteny.methods.shared.matrices import whole

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class FIRE(BoundaryReset):
    """Replace every weight matrix by the isometry that is nearest to it.

    At every change of task, or every `period` updates, for each weight matrix W `[d_out, d_in]`

        W ← sqrt(d_out / d_in) U        U = W (WᵀW)^(-1/2), the orthogonal factor of its polar decomposition

    U comes from 10 Newton-Schulz iterations X ← 1.5 X - 0.5 X XᵀX that begin at X = W / |W|_F. They bring singular
    values above about |W|_F / 50 to 1; smaller ones stay below 1. A convolution's kernel `[d_out, d_in, k_h, k_w]` is a
    matrix at each of its positions, and each becomes 1 / (k_h k_w) sqrt(d_out / d_in) U. The optimizer's state of all
    parameters starts anew; biases and norms keep their values.

    In a transformer the paper projects only the weights of queries and keys: name them in `only`. The three parts of
    `nn.MultiheadAttention`'s `in_proj_weight` are three matrices. Embeddings count as matrices, too: `only` can leave
    them out.

    Args:
        period: updates between two projections; None: at a change of task.
        only: names of the parameters to project, or patterns (`"*.to_q.weight"`); None: all weight matrices.
        strength: α of (1 - α) W + α (the isometry), as in the authors' code; the paper's rule is 1, and 0 does nothing.
        iterations: Newton-Schulz iterations.
        keep_momentum: leave the optimizer's state alone.

    Raises:
        SettingError: a setting outside its range; weights of which this process holds only a part.
        UnknownNameError: a pattern of `only` that fits no weight matrix.

    >>> FIRE(only=["*.to_q.weight", "*.to_k.weight"]).only
    ('*.to_q.weight', '*.to_k.weight')
    """

    name: ClassVar[str] = "fire"
    stage: ClassVar[Stage] = "projection"
    varies: ClassVar[tuple[str, ...]] = ("strength",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (0.25, 0.5, 1.0)}
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "Where the scale of the weights matters, as without norms and in an output layer of few units; and where tasks "
        "change every few updates, as each projection changes the function."
    )

    only: Sequence[str] | None = None
    strength: float = 1.0
    iterations: int = 10
    keep_momentum: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_fraction(self, "strength")
        require_count(self, "iterations", least=1)
        if self.only is not None:
            patterns = (self.only,) if isinstance(self.only, str) else tuple(self.only)
            if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
                raise SettingError(
                    f"FIRE: only = {self.only!r} names no parameters; give names or patterns, or None for all."
                )
            object.__setattr__(self, "only", patterns)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(period=4), cls(strength=0.5, keep_momentum=True)], [cls(strength=0), cls(period=10**6)]

    def inert(self) -> str | None:
        """Without strength nothing is projected."""
        return "strength = 0, so no weight changes" if self.strength == 0 else None

    def excludes(self, other: Method) -> str | None:
        """A full reset at the same moments leaves nothing to project."""
        return "after a full reset nothing is left to project" if other.name == "full-reset" else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """No state; refuses a pattern that fits nothing."""
        found = [name for name in network.initialisers if name in tensors and is_matrix(name, tensors[name])]
        for pattern in self.only or ():
            if not any(fnmatchcase(name, pattern) for name in found):
                raise UnknownNameError(pattern, found, "weight matrix")
        return {}

    def reset(self, step: Step, when: Tensor | None) -> None:
        """Project where `when` is true; None: for certain."""
        import torch

        if is_zero(self.strength):
            return
        for name in step.parameters():
            old = new = step.tensors[name]
            if name not in step.network.norms and is_matrix(name, old) and self._takes(name):
                matrix = whole(self, step, name)
                parts = matrix.chunk(3) if name.endswith("in_proj_weight") else (matrix,)
                matrices = torch.cat([isometry(part, self.iterations) for part in parts])
                new = torch.lerp(old, matrices, self.strength)
            if not self.keep_momentum:
                step.make_parameter_new(name, new, when)
            elif new is not old:
                step.tensors[name] = new if when is None else torch.where(when, new, old)

    def _takes(self, name: str) -> bool:
        return self.only is None or any(fnmatchcase(name, pattern) for pattern in self.only)


def is_matrix(name: str, value: Tensor) -> bool:
    """Whether a parameter is a layer's weight matrix or kernel.

    Class tokens and position embeddings have more than two dimensions as well; their names do not end in "weight".

    >>> import torch
    >>> is_matrix("tokens", torch.zeros(1, 1, 8)), is_matrix("conv.weight", torch.zeros(4, 1, 3, 3))
    (False, True)
    """
    return value.dim() == 2 or (value.dim() > 2 and name.endswith("weight"))


def isometry(weight: Tensor, iterations: int = 10) -> Tensor:
    """sqrt(d_out / d_in) U of a matrix `[d_out, d_in]`; of a kernel `[d_out, d_in, *positions]` at each position.

    A matrix of zeros stays as it is.

    >>> import torch
    >>> isometry(torch.diag(torch.tensor([2.0, -3.0])))
    tensor([[ 1.0000,  0.0000],
            [ 0.0000, -1.0000]])
    """
    import torch

    kernel = weight.to(torch.promote_types(weight.dtype, torch.float32)).flatten(2) if weight.dim() > 2 else weight
    x = kernel.movedim(2, 0) if weight.dim() > 2 else kernel.to(torch.promote_types(weight.dtype, torch.float32))
    d_out, d_in = x.shape[-2:]
    wide = d_in > d_out
    x = x.mT if wide else x  # so that XᵀX is the smaller of the two products
    size = x.square().sum((-2, -1), keepdim=True).sqrt()
    x = x / torch.where(size > 0, size, 1.0)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * (x @ (x.mT @ x))
    x = math.sqrt(d_out / d_in) * (x.mT if wide else x)
    if weight.dim() > 2:
        x = (x / len(x)).movedim(0, 2).reshape(weight.shape)
    return x.to(weight.dtype)
