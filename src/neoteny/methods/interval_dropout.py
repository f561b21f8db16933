"""Interval-wise dropout (AID): the positive or the negative part of each number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_fraction
from neoteny.methods.base import Contract
from neoteny.methods.shared.architecture import Replacing

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.surgery.replacing import Place


@dataclass(frozen=True, kw_only=True)
class WithIntervalDropout(Replacing):
    """Put interval-wise dropout (AID), in its simplified form, in place of all hidden activations.

    In training it is drawn for each number x by itself:

        AID(x) = max(x, 0) with probability p, else min(x, 0)

    So positive numbers are dropped with probability 1 - p and negative ones with p. In evaluation it is the mean,
    p max(x, 0) + (1 - p) min(x, 0). Neither is rescaled by 1 / p, as ordinary dropout does. With p = 1 it is a ReLU,
    with p = 1/2 the mean is linear. For symmetric x, E AID(x)² = E x² / 2, as for a ReLU, so He's initialisation fits.
    All weights keep names and values.

    Park, Han, Oh & Kim, "Activation by interval-wise dropout: a simple way to prevent neural networks from plasticity
    loss", ICML 2025 (PMLR 267), arXiv 2502.01342 (Algorithm 2 and Property 1).

    Args:
        p: probability of the rectifier.

    Raises:
        SettingError: a p outside [0, 1].

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithIntervalDropout(), torch.zeros(1, 3))[1]
    IntervalDropout(p=0.9)
    """

    name: ClassVar[str] = "aid"
    avoid: ClassVar[str] = (
        "With one example at a step, where no batch averages its noise; in small networks; and where outputs have to "
        "be exact, as in regression."
    )

    p: float = 0.9

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "p")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls()], [cls(p=1)]

    def inert(self) -> str | None:
        """With p = 1 nothing is random."""
        return "p = 1, so activations are plain rectifiers" if self.p == 1 else None

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """Interval dropout."""
        from neoteny.nn.activation_modules import IntervalDropout

        return IntervalDropout(self.p)
