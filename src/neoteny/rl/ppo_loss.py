"""The objective of proximal policy optimisation, as the one phase of a learner of the laboratory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from neoteny.lab.objective import Evaluation, Forward
from neoteny.nn.actor_critic import ActorCritic

__all__ = ["PPOLoss", "log_probability"]


def log_probability(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log N(a; mu, exp(2 l)), summed over the last dimension: [..., A] to [...].

    >>> log_probability(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    tensor(-0.9189)
    """
    scaled = (actions - mean) * (-log_std).exp()
    return (-0.5 * scaled.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


@dataclass(frozen=True, kw_only=True)
class PPOLoss:
    """The clipped surrogate objective, a value loss and an entropy bonus.

    With the ratio rho = pi(a | s) / pi_old(a | s), advantage A and return R, means over the minibatch:

        L = -mean min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v mean (R - v(s))^2 - c_e mean H(pi(. | s))

    where H = sum over the actions of l + (1 + log 2 pi) / 2.

    Args:
        clip_coef: eps.
        vf_coef: c_v.
        ent_coef: c_e.

    The network is an `ActorCritic`. A batch holds `states` [B, observations], `actions` [B, A], and [B] each their
    `log_probs` under the policy that took them, `advantages` and `returns`.

    Source: Schulman, Wolski, Dhariwal, Radford & Klimov, arXiv 1707.06347, Eqs. 7 and 9 (which leaves the value loss
    its plain square, with weight c_1).
    """

    metrics: ClassVar[tuple[str, ...]] = ("policy_loss", "value_loss", "entropy", "clip_fraction", "approx_kl")

    clip_coef: float = 0.2
    vf_coef: float = 1.0
    ent_coef: float = 0.0

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch, and what is recorded of it."""
        outputs = forward(batch["states"])
        return Evaluation(self.loss(outputs, batch), self.judge(outputs.detach(), batch))

    def loss(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss [] of outputs [B, 2 A + 1]."""
        parts, _ = self._parts(outputs, batch)
        loss = parts["policy_loss"] + self.vf_coef * parts["value_loss"]
        return loss - self.ent_coef * parts["entropy"] if self.ent_coef else loss

    def judge(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms, the fraction of clipped ratios, and KL from the old policy: mean rho - 1 - log rho."""
        parts, log_ratio = self._parts(outputs, batch)
        ratio = log_ratio.exp()
        parts["clip_fraction"] = ((ratio - 1).abs() > self.clip_coef).float().mean()
        parts["approx_kl"] = (ratio - 1 - log_ratio).mean()
        return parts

    def _parts(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        mean, log_std, values = ActorCritic.split(outputs)
        advantages = batch["advantages"]
        log_ratio = log_probability(batch["actions"], mean, log_std) - batch["log_probs"]
        ratio = log_ratio.exp()
        surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - self.clip_coef, 1 + self.clip_coef) * advantages)
        parts = {
            "policy_loss": -surrogate.mean(),
            "value_loss": (batch["returns"] - values).square().mean(),
            "entropy": (log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(-1).mean(),
        }
        return parts, log_ratio
