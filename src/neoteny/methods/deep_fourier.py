"""Deep Fourier features: sine and cosine of what each layer gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.shared.architecture import Concatenating

if TYPE_CHECKING:
    from neoteny.nn.activation_modules import Concatenated


@dataclass(frozen=True, kw_only=True)
class WithDeepFourier(Concatenating):
    """Put sine and cosine in place of all hidden activations, and make the layers narrower in return.

        h = [sin(x), cos(x)]    along the channels; x is what the layer or the norm behind it gives

    The features have no frequency or phase of their own: the weights and biases of the layer play that part. The output
    layer stays linear in h. For every x, one of the two functions is within 0.11 of a linear one on
    [x - π/4, x + π/4] (Proposition 1 of the paper). So such a network lies between a linear network, which does not
    lose plasticity, and an ordinary one.

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, such that the network has as
    many parameters as before, as nearly as whole widths allow. See `neoteny.nn.surgery.narrowing.double`, also for
    which networks can be changed. Layers whose shape changes are drawn anew by the rule by which they were drawn.

    Lewandowski, Schuurmans & Machado, "Plastic learning with deep Fourier features", ICLR 2025, arXiv 2410.20634
    (Section 4).

    Args:
        match: what stays as it was: `parameters`, or `features`. The latter gives each layer half as many units; then
            it has as many inputs as before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithDeepFourier(match="features"), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): SinCos(dim=-1)
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """

    name: ClassVar[str] = "deep-fourier"
    avoid: ClassVar[str] = (
        "On inputs far from unit scale, or with large step sizes: over such a range the features go through many "
        "periods, and a small change of a weight changes everything. The authors add a regulariser of the weights."
    )

    @property
    def activation(self) -> type[Concatenated]:
        """Sine and cosine."""
        from neoteny.nn.activation_modules import SinCos

        return SinCos
