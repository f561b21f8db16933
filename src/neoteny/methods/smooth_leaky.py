"""A smooth leaky rectifier: a gradient always passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_fraction, require_positive
from neoteny.methods.shared.architecture import Replacing

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.surgery.replacing import Place


@dataclass(frozen=True, kw_only=True)
class WithSmoothLeaky(Replacing):
    """Put a smooth leaky rectifier in place of all hidden activations:

        f(x) = α x + (1 - α) x σ(c x / p)    with the logistic function σ

    It is α x far below 0 and x far above. Its slope at 0 is (1 + α) / 2; the least slope is α - 0.0998 (1 - α). That is
    positive for α > 0.0908, whatever c and p are, so that a gradient always passes. All weights keep names and values.

    Lillo & Cheney, "Activation function design sustains plasticity in continual learning", ICLR 2026, arXiv 2509.22562
    (Eq. 1; the defaults are those of its Figure 5).

    Args:
        alpha: α, the slope far below 0.
        c: curvature of the transition.
        p: width of the transition; only c / p counts.

    Raises:
        SettingError: a setting outside its range.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithSmoothLeaky(), torch.zeros(1, 3))[1]
    SmoothLeakyReLU(alpha=0.1, c=5.0, p=3.0)
    """

    name: ClassVar[str] = "smooth-leaky"
    avoid: ClassVar[str] = (
        "Where exact zeros are wanted: no activation is ever exactly 0, so measures of dormant units say nothing. The "
        "authors tuned three settings on every problem."
    )

    alpha: float = 0.1
    c: float = 5.0
    p: float = 3.0

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "alpha")
        require_positive(self, "c", "p")

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """The smooth leaky rectifier."""
        from neoteny.nn.activation_modules import SmoothLeakyReLU

        return SmoothLeakyReLU(self.alpha, self.c, self.p)
