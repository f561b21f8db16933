"""A leaky rectifier without a kink.

Lillo & Cheney, "Activation function design sustains plasticity in continual learning", ICLR 2026, arXiv 2509.22562.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import is_number, require, require_fraction
from neoteny.methods.shared.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SmoothLeaky(Architecture):
    """Put a smooth leaky rectifier in place of all hidden activations:

        f(x) = α x + (1 - α) x σ(c x / p)    with the logistic function σ

    which is α x far below 0 and x far above. Its slope at 0 is (1 + α) / 2, and it is nowhere less than
    α - 0.0998 (1 - α): positive, so that a gradient always passes, for α > 0.0908, whatever c and p are. All weights
    keep names and values.

    Args:
        alpha: α, the slope far below 0.
        c: curvature of the transition.
        p: width of the transition; only c / p counts.

    Raises:
        SettingError: a setting outside its range.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, SmoothLeaky(), torch.zeros(1, 3))[1]
    SmoothLeakyReLU(alpha=0.1, c=5.0, p=3.0)

    Source: Lillo & Cheney, ICLR 2026, Eq. 1; the defaults are those of its Figure 5.
    """

    name: ClassVar[str] = "smooth-leaky"
    changes: ClassVar[str] = "activations"
    avoid: ClassVar[str] = (
        "Where exact zeros are wanted: no unit is ever silent, so that measures of dormant units say nothing. The "
        "authors tuned three settings on every problem."
    )

    alpha: float = 0.1
    c: float = 5.0
    p: float = 3.0

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "alpha")
        for name in ("c", "p"):
            value = getattr(self, name)
            require(self, name, is_number(value) and 0 < value < math.inf, "a finite number > 0")

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with the activations replaced."""
        from neoteny.nn.rewriting import rewrite
        from neoteny.nn.smooth_leaky import SmoothLeakyReLU

        return rewrite(model, example_inputs, lambda old, place: SmoothLeakyReLU(self.alpha, self.c, self.p))
