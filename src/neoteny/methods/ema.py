"""The exponential moving average of the weights, which is evaluated instead of them.

After Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4), 1992, who average uniformly; as a baseline: Lee et al., "Slow and steady wins the race", ICML 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero
from neoteny.methods.base import Contract, Stage, Step, Tensors
from neoteny.methods.shared.averaging import Averaging

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class EMA(Averaging):
    """Train as before, and evaluate the exponential moving average of the weights.

    After each update t = 1, 2, ... the average a of every parameter and of every buffer of real numbers moves by

        a ← a + (1 - μ) / (1 - μ^t) (θ - a)

    That is (1 - μ) Σ_s μ^(t - s) θ_s / (1 - μ^t): a weighted mean of the weights after updates 1 to t, without the
    initial ones, corrected as Adam corrects its moments. With `correct=False` it is a ← μ a + (1 - μ) θ from the
    initial weights on, which have the share μ^t: the baseline of Lee et al. About the last 1 / (1 - μ) updates count.

    Training itself does not change. `Plasticity.evaluating` puts the average into a user's network, and the laboratory
    evaluates it.

    Args:
        mu: μ in [0, 1); with 0 the average is the weights themselves.
        correct: leave the initial weights out of the average.

    Raises:
        SettingError: μ outside [0, 1).

    >>> EMA(mu=0.99)
    EMA(mu=0.99, correct=True)
    """

    name: ClassVar[str] = "ema"
    stage: ClassVar[Stage] = "average"
    varies: ClassVar[tuple[str, ...]] = ("mu",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"mu": (0.9, 0.99, 0.999, 0.9999)}
    memory: ClassVar[tuple[float, float]] = (1.0, 1.0)
    avoid: ClassVar[str] = (
        "To improve learning itself: it only changes what is evaluated. Where the target moves within 1 / (1 - mu) "
        "updates, or where units and layers are reset, the average lags behind the weights."
    )

    correct: bool = True

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(mu=0.8), cls(mu=0.8, correct=False)], [cls(mu=0)]

    def inert(self) -> str | None:
        """With μ = 0 the average is the weights."""
        return "mu = 0, so the average is the weights themselves" if self.mu == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/average`, and `count`, int32 `[]`: updates so far."""
        import torch

        device = next(iter(tensors.values())).device
        return super().init(network, tensors) | {"count": torch.zeros((), dtype=torch.int32, device=device)}

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update the averages."""
        import torch

        count = state["count"] + 1
        share = 1 - self.mu
        if self.correct and not is_zero(self.mu):
            log = self.mu.double().log() if isinstance(self.mu, torch.Tensor) else math.log(self.mu)
            known = step.known(count)
            both = isinstance(known, torch.Tensor) or isinstance(log, torch.Tensor)
            less = torch.expm1(count.double() * log) if both else math.expm1(known * log)
            share = -share / less  # 1 - μ^t: the first update's share is 1
        return self.followed(step, state, share) | {"count": count}

    def evaluated(self, tensors: Tensors, state: Tensors) -> Tensors:
        """The averages."""
        return self.averages(tensors, state)
