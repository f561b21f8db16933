"""AID: dropout whose probability depends on the interval a pre-activation lies in, as an activation.

Park, Han, Oh & Kim, "Activation by interval-wise dropout: a simple way to prevent neural networks from plasticity
loss", ICML 2025 (PMLR 267), arXiv 2502.01342.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_fraction
from neoteny.methods.base import Contract
from neoteny.methods.shared.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class IntervalDropout(Architecture):
    """Put interval-wise dropout, in its simplified form, in place of all hidden activations.

    In training each number x that a unit is about to give meets its own lot:

        AID(x) = max(x, 0) with probability p, else min(x, 0)

    so that positive numbers are dropped with probability 1 - p and negative ones with p. In evaluation it is the mean,
    p max(x, 0) + (1 - p) min(x, 0). Neither is rescaled by 1 / p as in ordinary dropout. With p = 1 it is a ReLU, with
    p = 1/2 the mean is linear. E AID(x)² = E x² / 2 for symmetric x, as for a ReLU: He's initialisation keeps its
    meaning. All weights keep names and values.

    Args:
        p: probability of the rectifier.

    Raises:
        SettingError: a p outside [0, 1].

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, IntervalDropout(), torch.zeros(1, 3))[1]
    IntervalDropout(p=0.9)

    Source: Park et al., ICML 2025, Algorithm 2 and Property 1.
    """

    name: ClassVar[str] = "aid"
    changes: ClassVar[str] = "activations"
    avoid: ClassVar[str] = (
        "With one example at a step, where its noise is not averaged over a batch; in small networks, and where "
        "outputs have to be exact, as in regression."
    )

    p: float = 0.9

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "p")

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
        return [cls()], [cls(p=1)]

    def inert(self) -> str | None:
        """With p = 1 nothing is left to chance."""
        return "p = 1, so activations are plain rectifiers" if self.p == 1 else None

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with the activations replaced."""
        from neoteny.nn.interval_dropout import IntervalDropout as Module
        from neoteny.nn.rewriting import rewrite

        return rewrite(model, example_inputs, lambda old, place: Module(self.p))
