"""Concatenated rectifiers: a unit that falls silent on one side begins to speak on the other.

Abbas, Zhao, Modayil, White & Machado, "Loss of plasticity in continual deep reinforcement learning", CoLLAs 2023 (PMLR
232), after Shang, Sohn, Almeida & Lee, "Understanding and improving convolutional neural networks via concatenated
rectified linear units", ICML 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.shared.architecture import Doubling

if TYPE_CHECKING:
    from collections.abc import Callable

    from neoteny.nn.concatenated import Concatenated


@dataclass(frozen=True, kw_only=True)
class CReLU(Doubling):
    """Put concatenated rectifiers in place of all hidden activations, and make layers narrower in return.

        h = [max(x, 0), max(-x, 0)]    along the channels; x is what the layer or the norm behind it gives

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, with which the network has as
    many parameters as before, as nearly as whole widths allow; see `neoteny.nn.resizing.double`, also for which
    networks can be changed. Layers that change their shape are drawn anew, by the rule by which they were drawn. One of
    the two numbers of a unit is always positive, so that a gradient always reaches its weights; and |h|² = |x|².

    Args:
        match: `parameters`, or `features` to give each layer half as many units, so that it has as many inputs as
            before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, CReLU(), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=7, bias=True)
      (1): CReLU(dim=-1)
      (2): Linear(in_features=14, out_features=1, bias=True)
    )

    Source: Abbas et al., CoLLAs 2023; Shang et al., ICML 2016, Definition 2.1.
    """

    name: ClassVar[str] = "crelu"
    avoid: ClassVar[str] = (
        "Where the network is given, its widths included, or where width rather than the number of weights limits what "
        "it can learn: with as many parameters it has more than a quarter fewer units."
    )

    def activation(self) -> Callable[[int], Concatenated]:
        """Concatenated rectifiers."""
        from neoteny.nn.concatenated import CReLU as Module

        return Module
