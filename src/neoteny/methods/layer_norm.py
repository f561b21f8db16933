"""Layer norm in front of every hidden activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_nonnegative
from neoteny.methods.shared.architecture import Normalising

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.surgery.replacing import Place


@dataclass(frozen=True, kw_only=True)
class WithLayerNorm(Normalising):
    """Normalise what each hidden activation f reads, over the units and for each example by itself:

        f(γ (x - μ) / √(σ² + ε) + β),    μ and σ² the mean and variance of x over the units of the layer

    Behind a convolution the mean goes over maps and positions together (`nn.GroupNorm` with one group), and each map
    has a γ and a β. γ begins at 1 and β at 0. All weights keep names and values.

    Ba, Kiros & Hinton, "Layer normalization", arXiv 1607.06450, 2016 (Eqs. 3 and 4).

    Args:
        epsilon: ε.

    Raises:
        SettingError: an epsilon that is not a finite number >= 0.
        NetworkError: a norm is there already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithLayerNorm(), torch.zeros(1, 3))[1]
    Sequential(
      (0): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (1): ReLU()
    )
    """

    name: ClassVar[str] = "layer-norm"
    avoid: ClassVar[str] = (
        "In very narrow layers, where it takes away two of few degrees of freedom. By itself it does not keep a "
        "network plastic: weights grow, and the effective step size falls; combine it with a decay or a projection."
    )

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "epsilon")

    def norm(self, place: Place) -> nn.Module:
        """A layer norm; for feature maps a group norm of one group."""
        from neoteny.nn.surgery.replacing import layer_norm

        return layer_norm(place, self.epsilon)
