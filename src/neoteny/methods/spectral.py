"""Spectral regularisation: keep the largest singular value of every layer near one.

Lewandowski, Bortkiewicz, Kumar, György, Schuurmans, Ostaszewski & Machado, "Learning continually by spectral
regularization", ICLR 2025, arXiv 2406.06811 (Section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_count, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import Matrix, matrices, norms, whole

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class Spectral(Method):
    """Pull the largest singular value σ of every weight matrix W towards 1, and biases b towards 0.

    With the strength λ, the term added to the loss is

        λ Σ_layers [(σ(W)^k - 1)² + |b|^(2k)]

    Convolutions are matrices `[out, in * kernel]`. Embeddings are left out, as their rows are never summed. Norms are
    layers with a diagonal matrix: every gain γ adds (γ^k - 1)², the shift b adds |b|^(2k).

    The singular vectors come from power iteration, one round a step, with u kept from the step before,

        v = Wᵀu / |Wᵀu|,    u = W v / |W v|,    σ = uᵀW v

    and the gradients added before the step are, with u and v held fixed,

        2 k λ (σ^k - 1) σ^(k-1) u vᵀ    and    2 k λ |b|^(2k-2) b

    Args:
        strength: λ; 1e-5 to 1e-2 are usual.
        k: the power; a higher one pulls singular values above 1 harder and those below 1 less.
        iterations: rounds of power iteration at each step.

    Raises:
        SettingError: a strength that is not a finite number >= 0, or k or the iterations below 1; while training, a
            weight matrix of which only a part is in this process.

    >>> Spectral(strength=1e-3)
    Spectral(strength=0.001, k=2, iterations=1)
    """

    name: ClassVar[str] = "spectral"
    stage: ClassVar[Stage] = "regulariser"
    varies: ClassVar[tuple[str, ...]] = ("strength",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"strength": (1e-5, 1e-4, 1e-3, 1e-2)}
    memory: ClassVar[tuple[float, float]] = (0.0, 3.0)
    avoid: ClassVar[str] = (
        "With parameters sharded over processes: no process has a whole matrix. Where layers need a gain other than "
        "one, as output layers for small or large targets."
    )

    strength: float = 1e-4
    k: int = 2
    iterations: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")
        require_count(self, "k", "iterations", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.01), cls(strength=0.01, k=1, iterations=3)], [cls(strength=0)]

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no layer is pulled" if self.strength == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<weight>/left` and `<weight>/right`: u `[out]` and v `[in * kernel]`, at least float32."""
        import torch

        from neoteny.units.random import key, normal

        state = {}
        for number, matrix in enumerate(self._matrices(network, tensors)):
            rows = matrix.laid_out(tensors[matrix.name])
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
            left = normal(key(number, rows.device), (len(rows),)).to(rows.dtype)
            right = rows.new_zeros(rows.shape[1])
            state |= self._iterated(matrix.name, rows, left / left.norm(), right)
        return state

    def _matrices(self, network: Network, tensors: Tensors) -> list[Matrix]:
        return [matrix for matrix in matrices(network, tensors) if not matrix.embedding]

    def _iterated(self, name: str, rows: Tensor, left: Tensor, right: Tensor) -> Tensors:
        for _ in range(self.iterations):
            right = _direction(rows.T @ left, right)
            left = _direction(rows @ right, left)
        return {f"{name}/left": left, f"{name}/right": right}

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add the gradients of the term."""
        if is_zero(self.strength):
            return state
        k = self.k
        for matrix in self._matrices(step.network, step.tensors):
            if matrix.name in step.grads:
                weight = whole(self, step, matrix.name)
                left, right = state[f"{matrix.name}/left"], state[f"{matrix.name}/right"]
                sigma = left @ (matrix.laid_out(weight).to(left.dtype) @ right)
                pull = (2 * k * self.strength) * (sigma**k - 1) * sigma ** (k - 1)
                self._add(step, matrix.name, matrix.back((pull * left).outer(right), weight))
            for bias in matrix.biases:
                self._shrink(step, bias)
        for name, neutral in norms(step.network, step.tensors).items():
            if neutral and name in step.grads:
                gain = step.tensors[name]
                self._add(step, name, (2 * k * self.strength) * (gain**k - 1) * gain ** (k - 1))
            elif not neutral:
                self._shrink(step, name)
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Power iteration on the new weights; here, as an optimizer may ask for gradients several times a step."""
        if is_zero(self.strength):
            return state
        state = dict(state)
        for matrix in self._matrices(step.network, step.tensors):
            if matrix.name in step.grads:
                left, right = state[f"{matrix.name}/left"], state[f"{matrix.name}/right"]
                rows = matrix.laid_out(whole(self, step, matrix.name)).to(left.dtype)
                state |= self._iterated(matrix.name, rows, left, right)
        return state

    def _shrink(self, step: Step, name: str) -> None:
        """Add the gradient of λ |b|^(2k)."""
        if name in step.grads:
            bias = step.tensors[name] if self.k == 1 else whole(self, step, name)
            square = bias.square().sum()
            self._add(step, name, (2 * self.k * self.strength) * square ** (self.k - 1) * bias)

    def _add(self, step: Step, name: str, gradient: Tensor) -> None:
        step.grads[name] = step.grads[name] + gradient.to(step.grads[name].dtype)


def _direction(vector: Tensor, otherwise: Tensor) -> Tensor:
    """The vector scaled to length 1; where its length is 0, as in a head that was set to zero, the previous one."""
    import torch

    length = vector.norm()
    return torch.where(length > 0, vector / torch.where(length > 0, length, 1), otherwise)
