"""L2-ER: L2 regularisation, and a term that keeps the effective rank of the features high.

He, Guo, Prakash, Tiwari, Tao, Serapio, Greenwald & Konidaris, "Spectral collapse drives loss of plasticity in deep
continual learning", arXiv 2509.22335, 2025. Effective rank: Roy & Vetterli, EUSIPCO 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_nonnegative
from neoteny.methods.base import Contract, Method, Step, Tensors
from neoteny.methods.shared.penalty import at_least_single, gradients

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EffectiveRank(Method):
    """L2, and a reward for features of high effective rank.

    The activations of a layer on the reference batch form a matrix of units by examples (and positions). With its
    singular values σ and p = σ / Σσ, its effective rank is

        erank = exp(-Σ_i p_i log p_i)

    and before each step, with λ the strength of L2 and μ that of the rank,

        g ← g + λ θ - μ ∇ mean over layers of erank

    The gradient is computed by formula, not traced through the decomposition: ∂erank/∂σ_i = -erank (log p_i + H) / Σσ
    with the entropy H, along u_i v_iᵀ. It grows only as a logarithm when σ_i goes to 0. Directions whose σ_i is 0 up to
    rounding get no gradient. So the rank of a layer that has collapsed onto a single direction does not rise again.

    The authors' code uses the batch trained on, or makes separate steps on the last batches from time to time; here it
    is the reference batch at every step.

    Args:
        strength: λ, as in `L2`.
        rank_strength: μ; 0.01 in the authors' code.
        norms: also decay the gains and shifts of norms, which are left out otherwise.

    Raises:
        SettingError: a strength that is not a finite number >= 0.

    >>> EffectiveRank(rank_strength=1e-3)
    EffectiveRank(strength=0.0001, rank_strength=0.001, norms=False)
    """

    name: ClassVar[str] = "l2-er"
    varies: ClassVar[tuple[str, ...]] = ("strength", "rank_strength")
    needs_units: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    grid: ClassVar[dict[str, tuple[float, ...]]] = {
        "strength": (1e-5, 1e-4, 1e-3),
        "rank_strength": (1e-3, 1e-2),
    }
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "With wide layers and large reference batches: it needs a singular value decomposition of their features at "
        "every step. On a reference batch of few examples the rank is at most the number of examples."
    )

    strength: float = 1e-4
    rank_strength: float = 1e-2
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength", "rank_strength")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.01, rank_strength=0.1), cls(strength=0, rank_strength=0.1)], [
            cls(strength=0, rank_strength=0)
        ]

    def inert(self) -> str | None:
        """Both terms are off."""
        return (
            "strength = rank_strength = 0, so no weight is pulled" if self.strength == self.rank_strength == 0 else None
        )

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add both terms to the gradients."""
        pull: Tensors = {}
        if not is_zero(self.rank_strength) and step.grads:
            pull, _ = gradients(step, lambda _, features, beside: _surrogate(features))
        if not is_zero(self.strength):
            for name in step.trained(self.norms):
                step.grads[name] = step.grads[name] + self.strength * step.tensors[name]
        for name, risen in pull.items():
            own = step.grads[name]
            step.grads[name] = own - (self.rank_strength * risen).to(own.dtype)
        return state


def _surrogate(features: Tensors) -> Tensor:
    """A linear function of the activations whose gradient is that of the mean effective rank at these activations."""
    import torch

    terms = [(at_least_single(h) * ascent(h.detach())).sum() for h in features.values()]
    return torch.stack(terms).mean()


def ascent(features: Tensor) -> Tensor:
    """The gradient of the effective rank with respect to the activations `[batch, units, positions]`, of their shape.

    >>> import torch
    >>> h = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).unsqueeze(2)  # more of the second direction, less of the first
    >>> ascent(h).squeeze(2).sign()
    tensor([[-1., 0.],
            [ 0., 1.]])
    """
    import torch

    h = at_least_single(features)
    rows = h.movedim(1, 2).flatten(0, 1)
    rows = torch.where(rows.isfinite(), rows, 0)  # one run of a stack that has diverged must not stop the others
    largest = rows.abs().amax()
    scale = torch.where(largest > 0, largest, 1)
    u, s, v = torch.linalg.svd(rows / scale, full_matrices=False)
    nonzero = s > s.amax() * max(rows.shape) * torch.finfo(s.dtype).eps
    s = torch.where(nonzero, s, 0)
    total = torch.where(nonzero.any(), s.sum(), 1)
    log = torch.where(nonzero, s / total, 1).log()
    entropy = -(s / total * log).sum()
    slope = torch.where(nonzero, -(log + entropy), 0) * entropy.exp() / (total * scale)
    return ((u * slope) @ v).unflatten(0, (h.shape[0], h.shape[2])).movedim(2, 1)
