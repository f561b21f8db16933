"""Concatenated rectifiers: two numbers for each unit, one of which always learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.shared.architecture import Concatenating

if TYPE_CHECKING:
    from neoteny.nn.activation_modules import Concatenated


@dataclass(frozen=True, kw_only=True)
class WithCReLU(Concatenating):
    """Put concatenated rectifiers in place of all hidden activations, and make the layers narrower in return.

        h = [max(x, 0), max(-x, 0)]    along the channels; x is what the layer or the norm behind it gives

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, such that the network has as
    many parameters as before, as nearly as whole widths allow. See `neoteny.nn.surgery.narrowing.double`, also for
    which networks can be changed. Layers whose shape changes are drawn anew by the rule by which they were drawn.

    One of the two numbers of a unit is always positive, so a gradient always reaches its weights; and |h|² = |x|².

    Abbas, Zhao, Modayil, White & Machado, "Loss of plasticity in continual deep reinforcement learning", CoLLAs 2023
    (PMLR 232), after Shang, Sohn, Almeida & Lee, "Understanding and improving convolutional neural networks via
    concatenated rectified linear units", ICML 2016, Definition 2.1.

    Args:
        match: what stays as it was: `parameters`, or `features`. The latter gives each layer half as many units; then
            it has as many inputs as before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithCReLU(), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=7, bias=True)
      (1): CReLU(dim=-1)
      (2): Linear(in_features=14, out_features=1, bias=True)
    )
    """

    name: ClassVar[str] = "crelu"
    avoid: ClassVar[str] = (
        "Where the network's widths have to stay. Where the number of units limits what the network can learn, rather "
        "than the number of weights: with as many parameters it has over a quarter fewer units."
    )

    @property
    def activation(self) -> type[Concatenated]:
        """Concatenated rectifiers."""
        from neoteny.nn.activation_modules import CReLU

        return CReLU
