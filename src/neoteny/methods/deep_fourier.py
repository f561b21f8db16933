"""Deep Fourier features: every unit gives its sine and its cosine, one of which is always nearly linear.

Lewandowski, Schuurmans & Machado, "Plastic learning with deep Fourier features", ICLR 2025, arXiv 2410.20634.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.shared.architecture import Doubling

if TYPE_CHECKING:
    from collections.abc import Callable

    from neoteny.nn.concatenated import Concatenated


@dataclass(frozen=True, kw_only=True)
class DeepFourier(Doubling):
    """Put sine and cosine in place of all hidden activations, and make layers narrower in return.

        h = [sin(x), cos(x)]    along the channels; x is what the layer or the norm behind it gives

    with neither frequency nor phase of their own: those are the weights and biases of the layer. The output layer stays
    linear in h. Whatever x is, one of the two functions is within 0.11 of a linear one on [x - π/4, x + π/4]: a
    network of them is between a linear network, which does not lose plasticity, and an ordinary one.

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, with which the network has as
    many parameters as before, as nearly as whole widths allow; see `neoteny.nn.resizing.double`, also for which
    networks can be changed. Layers that change their shape are drawn anew, by the rule by which they were drawn.

    Args:
        match: `parameters`, or `features` to give each layer half as many units, so that it has as many inputs as
            before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, DeepFourier(match="features"), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): SinCos(dim=-1)
      (2): Linear(in_features=8, out_features=1, bias=True)
    )

    Source: Lewandowski et al., ICLR 2025, Section 4; its Proposition 1 says how nearly linear.
    """

    name: ClassVar[str] = "deep-fourier"
    avoid: ClassVar[str] = (
        "On inputs far from unit scale, or with large step sizes: features turn round many times over such a range, "
        "and small changes of a weight change everything. The authors add a regulariser of the weights."
    )

    def activation(self) -> Callable[[int], Concatenated]:
        """Sine and cosine."""
        from neoteny.nn.concatenated import SinCos

        return SinCos
