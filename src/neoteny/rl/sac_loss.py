"""The phases of soft actor-critic: critics, then the actor, then the temperature.

Haarnoja et al., "Soft actor-critic algorithms and applications", arXiv 1812.05905, 2018; ensembles: Chen, Wang, Zhou &
Ross, "Randomized ensembled double Q-learning", ICLR 2021 (REDQ); Ball, Smith, Kostrikov & Levine, "Efficient online
reinforcement learning with offline data", ICML 2023 (RLPD).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from neoteny.lab.objective import Evaluation, Forward

__all__ = ["Actor", "Critics", "Temperature", "spread_of", "squashed"]

ACTOR, CRITIC, TARGET, TEMPERATURE = "actor", "critic", "target", "log_temperature"
ENTROPY = "entropy"
"""The signal that the actor's phase gives to the temperature's."""
LOG_STD = (-10.0, 2.0)
"""Bounds of the logarithm of the standard deviation."""


def spread_of(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the standard deviation, [..., A] each, of the actor's outputs [..., 2 A]."""
    mean, log_std = outputs.chunk(2, dim=-1)
    return mean, log_std.clamp(*LOG_STD)


def squashed(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """An action tanh(mu + sigma eps), [..., A], and the logarithm of its density, [...].

    With u = mu + sigma eps, log pi = sum of (-eps^2 / 2 - log sigma - log(2 pi) / 2 - log(1 - tanh(u)^2)), where the
    last term is 2 (log 2 - u - softplus(-2 u)), without the rounding errors of large u.

    >>> import torch
    >>> action, log_prob = squashed(torch.zeros(2), torch.zeros(1))
    >>> action, log_prob
    (tensor([0.]), tensor(-0.9189))
    """
    mean, log_std = spread_of(outputs)
    raw = mean + log_std.exp() * noise
    density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    return raw.tanh(), (density - 2 * (math.log(2) - raw - softplus(-2 * raw))).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Critics:
    """K critics learn the value of an action under the present policy.

    With a' and log pi' drawn for s', and a random subset M of the target critics:

        y = r + gamma (min over k in M of q'_k(s', a') - alpha log pi')
        L = sum over k of mean (q_k(s, a) - y)^2

    A batch holds `states`, `actions`, `rewards`, `next_states`, `discounts`, and what was drawn for it: `next_noise`,
    eps [B, A], and M as `left_out` [K], infinite for critics that are not in it, where it is not all.

    Args:
        entropy: whether the entropy counts, - alpha log pi'.

    Source: Haarnoja et al. 2018, Eqs. 5 and 6; Chen et al. 2021, Algorithm 1 for M.
    """

    metrics: ClassVar[tuple[str, ...]] = ("value", "target_value")

    entropy: bool = True

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch."""
        outputs = forward(batch["next_states"], network=ACTOR, observed=False).detach()
        action, log_prob = squashed(outputs, batch["next_noise"])
        following = forward(batch["next_states"], action, network=CRITIC, slow=TARGET)
        if "left_out" in batch:
            following = following + batch["left_out"]
        following = following.amin(-1)
        if self.entropy:
            following = following - forward.parameter(TEMPERATURE).detach().exp() * log_prob
        target = (batch["rewards"] + batch["discounts"] * following).detach()
        values = forward(batch["states"], batch["actions"], network=CRITIC)
        loss = (values - target.unsqueeze(-1)).square().mean(0).sum()
        return Evaluation(loss, {"value": values.detach().mean(), "target_value": target.mean()})


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The actor climbs the critics' value of its actions, and the entropy.

        L = mean (alpha log pi(a | s) - q(s, a)),  a = tanh(mu + sigma eps)

    A batch holds `states` and `noise`, eps [B, A].

    Args:
        value: which q: the least of the critics' values, or their mean.

    Source: Haarnoja et al. 2018, Eq. 9.
    """

    metrics: ClassVar[tuple[str, ...]] = ("entropy",)
    signals: ClassVar[tuple[str, ...]] = (ENTROPY,)

    value: str = "min"

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch; the entropy is a signal for the temperature."""
        outputs = forward(batch["states"], network=ACTOR)
        action, log_prob = squashed(outputs, batch["noise"])
        values = forward(batch["states"], action, network=CRITIC, observed=False)
        value = values.amin(-1) if self.value == "min" else values.mean(-1)
        alpha = forward.parameter(TEMPERATURE).detach().exp()
        entropy = -log_prob.detach().mean()
        return Evaluation((alpha * log_prob - value).mean(), {"entropy": entropy}, {ENTROPY: entropy})


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """The temperature alpha rises while the entropy is below its target: L = alpha (H - H*).

    Args:
        target: H*.
        learned: False gives a loss of 0: alpha stays.

    Source: Haarnoja et al. 2018, Eq. 18.
    """

    metrics: ClassVar[tuple[str, ...]] = ("temperature",)

    target: float
    learned: bool = True

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss."""
        alpha = forward.parameter(TEMPERATURE).exp()
        loss = alpha * (batch[ENTROPY] - self.target) * float(self.learned)
        return Evaluation(loss, {"temperature": alpha.detach()})
