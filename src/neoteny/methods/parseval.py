"""Parseval regularisation: keep the rows of every hidden layer's weights orthogonal and of equal length.

Chung, Cherif, Meger & Precup, "Parseval regularization for continual reinforcement learning", NeurIPS 2024, arXiv
2412.07224 (Eq. 1); after Cisse, Bojanowski, Grave, Dauphin & Usunier, "Parseval networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from neoteny.checks import is_number, is_zero, require, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import matrices, whole


@dataclass(frozen=True, kw_only=True)
class Parseval(Method):
    """Keep the rows of hidden layers' weight matrices W `[out, in]` orthogonal, at the length √s.

    With the strength λ, the term added to the loss is

        λ Σ_hidden layers |W Wᵀ - s I|²    (Frobenius norm),    whose gradient is 4 λ (W Wᵀ - s I) W

    Convolutions are matrices `[out, in * kernel]`; the output layers (`Network.head`), embeddings and biases are left
    alone. A matrix with more rows than columns cannot have orthogonal rows; its rows then come as close as they can.

    The authors' code multiplies λ by (64 / n)² in networks of width n, so that one λ serves several widths; the paper's
    objective does not. `relative_to_width` does that, with n the number of rows of each matrix.

    Args:
        strength: λ.
        scale: s > 0; 2 fits orthogonal initial weights of gain √2, as the authors have them, and 1 fits gain 1.
        relative_to_width: multiply λ by (64 / n)², as in the authors' code.

    Raises:
        SettingError: a strength that is not a finite number >= 0, or an s that is not a finite number > 0; while
            training, a weight matrix of which only a part is in this process.

    >>> Parseval(strength=1e-3)
    Parseval(strength=0.001, scale=2.0, relative_to_width=False)
    """

    name: ClassVar[str] = "parseval"
    stage: ClassVar[Stage] = "regulariser"
    varies: ClassVar[tuple[str, ...]] = ("strength", "scale")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-5, 1e-4, 1e-3), "scale": (1.0, 2.0)}
    memory: ClassVar[tuple[float, float]] = (0.0, 5.0)
    avoid: ClassVar[str] = (
        "In wide layers: the cost of W Wᵀ grows with the cube of the width. With batches of one example it takes most "
        "of the time of a step."
    )

    strength: float = 1e-3
    scale: float = 2.0
    relative_to_width: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")
        require(self, "scale", is_number(self.scale) and 0 < self.scale < math.inf, "a finite number > 0")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.01), cls(strength=1e-4, relative_to_width=True)], [cls(strength=0)]

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no layer is pulled" if self.strength == 0 else None

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add the gradient of the term."""
        if is_zero(self.strength):
            return state
        import torch

        for matrix in matrices(step.network, step.tensors):
            if matrix.name in step.grads and matrix.name not in step.network.head and not matrix.embedding:
                weight = whole(self, step, matrix.name)
                rows = matrix.laid_out(weight)
                away = rows @ rows.T - self.scale * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
                factor = (64 / len(rows)) ** 2 if self.relative_to_width else 1
                pull = (4 * factor * self.strength) * (away @ rows)
                step.grads[matrix.name] = step.grads[matrix.name] + matrix.back(pull, weight)
        return state
