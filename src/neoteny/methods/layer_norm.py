"""A layer norm in front of every hidden activation.

Ba, Kiros & Hinton, "Layer normalization", arXiv 1607.06450, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_nonnegative
from neoteny.methods.shared.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.rewriting import Place


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Architecture):
    """Normalise what each hidden activation f reads, over the units and for each example by itself:

        f(γ (x - μ) / √(σ² + ε) + β),    μ and σ² the mean and variance of x over the units of the layer

    behind a convolution over maps and positions together (`nn.GroupNorm` with one group), with γ and β for each map.
    γ begins at 1 and β at 0. All weights keep names and values.

    Args:
        epsilon: ε.

    Raises:
        SettingError: an epsilon that is not a finite number >= 0.
        NetworkError: a norm is there already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, LayerNorm(), torch.zeros(1, 3))[1]
    Sequential(
      (0): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (1): ReLU()
    )

    Source: Ba et al. 2016, Eqs. 3 and 4.
    """

    name: ClassVar[str] = "layer-norm"
    changes: ClassVar[str] = "norms"
    avoid: ClassVar[str] = (
        "In very narrow layers, where it takes away two of few degrees of freedom. By itself it does not keep a "
        "network plastic: weights grow, and the effective step size falls; combine it with a decay or a projection."
    )

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "epsilon")

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with a norm in front of each activation."""
        from torch import nn

        from neoteny.nn.rewriting import normalised

        def norm(place: Place) -> nn.Module:
            own = {"eps": self.epsilon, "device": place.value.device, "dtype": place.value.dtype}
            return nn.LayerNorm(place.size, **own) if place.channels == -1 else nn.GroupNorm(1, place.size, **own)

        return normalised(model, example_inputs, norm)
