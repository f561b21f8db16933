"""What agents learn from pixels: the values of actions or the distribution of returns, and their own next outputs.

Mnih et al., Nature 518, 2015; Bellemare, Dabney & Munos, "A distributional perspective on reinforcement learning",
ICML 2017 (C51); Schwarzer et al., ICLR 2021 (SPR).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, normalize

from neoteny.lab.objective import Evaluation, Forward
from neoteny.rl.augmenting import brightened
from neoteny.rl.dqn import ERRORS, TARGET
from neoteny.rl.pixel_settings import PixelSettings
from neoteny.units import random

__all__ = ["PixelLearning", "projected"]

_NOW, _NEXT, _AHEAD = range(3)  # folded into the key, for images of each kind


@dataclass(frozen=True, kw_only=True)
class PixelLearning:
    """The loss of an agent that sees pixels; each image changes in brightness first, by a draw of its own.

    The expected return, with `atoms` = 0, is `neoteny.rl.dqn.QLearning`'s. With atoms z_i of probability q_i,

        m = projection of (r + gamma z_i with probability q'_i(s', a'))      L_1 = -sum over i of m_i log q_i(s, a)

    where q' are the target network's, and a' is the action of the greatest expectation, of the network where it is
    double, else of the target network. Self-prediction adds, of the states s_k that came k steps later,

        L_2 = mean over k = 1..K of |u_k / |u_k| - v_k / |v_k||^2 = mean of 2 - 2 cos(u_k, v_k)

    u_k being what the transition model predicts for them, v_k the target network's projection of them, and 0 where the
    episode ended before. The loss is the mean of w (L_1 + weight L_2).

    Args:
        settings: see `PixelSettings`.
        target: the slow network's name; None where the network itself is the target.

    A batch holds `states` and `next_states`, bytes [B, height, width, channels], shifted already; `actions`, `rewards`,
    `discounts` [B], `weights` where there are priorities; for self-prediction `following` [B, K, of each], `ahead` and
    `goes_on` [B, K], the next states, the actions that led there, and whether the episode went on.

    Source: Bellemare et al. 2017, Algorithm 1; Schwarzer et al. 2021, Eqs. 4 and 5.
    """

    settings: PixelSettings
    target: str | None = TARGET

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is recorded besides the loss."""
        return ("value", "td_error", *(("prediction_loss",) if self.settings.jumps else ()))

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch, and the error of each transition: of a distribution, its cross-entropy."""
        s = self.settings
        later = self._images(batch["next_states"], key, _NEXT, batch["rewards"])
        now = self._images(batch["states"], key, _NOW, batch["rewards"])
        outputs, predictions = forward(now, "outputs", batch["ahead"] if s.jumps else None)
        following = forward(later, "outputs", None, slow=self.target, observed=False)[0].detach()
        if s.double and self.target is not None:
            judge = self._expected(forward(later, "outputs", None, observed=False)[0].detach())
        else:
            judge = self._expected(following)
        best, own = of_action(following, judge.argmax(-1)), of_action(outputs, batch["actions"])
        if s.atoms:
            support = self._support(outputs)
            target = projected(best.softmax(-1), support, batch["rewards"], batch["discounts"])
            logs = own.log_softmax(-1)
            losses = -(target * logs).sum(-1)
            errors, value = losses.detach(), logs.detach().exp() @ support
        else:
            target, value = batch["rewards"] + batch["discounts"] * best, own
            losses = huber_loss(own, target, reduction="none") if s.huber else (own - target).square() / 2
            errors = (target - own).detach()
        said = {"value": value.detach().mean(), "td_error": errors.abs().mean()}
        if s.jumps:
            ahead = self._predicted(forward, batch, predictions, key)
            losses = losses + s.prediction_weight * ahead
            said["prediction_loss"] = ahead.detach().mean()
        loss = (losses * batch["weights"]).mean() if "weights" in batch else losses.mean()
        return Evaluation(loss, said, {ERRORS: errors})

    def _predicted(self, forward: Forward, batch: Mapping[str, Tensor], predictions: Tensor, key: Tensor) -> Tensor:
        """L_2, [B]."""
        images = self._images(batch["following"].flatten(0, 1), key, _AHEAD, batch["rewards"])
        came = forward(images, "projections", slow=self.target, observed=False).detach()
        apart = normalize(predictions, dim=-1) - normalize(came, dim=-1).view_as(predictions)
        return (apart.square().sum(-1) * batch["goes_on"]).mean(-1)

    def _images(self, given: Tensor, key: Tensor, what: int, like: Tensor) -> Tensor:
        """Images [B, channels, height, width], real numbers from 0 to 255, in another brightness."""
        s, images = self.settings, given.permute(0, 3, 1, 2).to(like.dtype)
        return brightened(images, random.fold_in(key, what), s.intensity) if s.augment and s.intensity else images

    def _support(self, like: Tensor) -> Tensor:
        s = self.settings
        return torch.linspace(s.v_min, s.v_max, s.atoms, dtype=like.dtype, device=like.device)

    def _expected(self, outputs: Tensor) -> Tensor:
        """q(s, a) [B, A]."""
        return outputs.softmax(-1) @ self._support(outputs) if self.settings.atoms else outputs


def of_action(outputs: Tensor, actions: Tensor) -> Tensor:
    """Of outputs [B, A] or [B, A, atoms] those of actions [B], as a sum, whose gradient needs no scattering."""
    chosen = torch.arange(outputs.shape[1], device=outputs.device) == actions.unsqueeze(-1)
    return (outputs * (chosen.unsqueeze(-1) if outputs.dim() == 3 else chosen)).sum(1)


def projected(probabilities: Tensor, support: Tensor, rewards: Tensor, discounts: Tensor) -> Tensor:
    """The distribution of r + gamma z, on equally distant values z: each value's probability goes to its neighbours.

    Args:
        probabilities: of z [B, atoms].
        support: z, ascending, [atoms]; what lies outside counts as its nearest value.
        rewards: r [B].
        discounts: gamma [B].

    >>> z = torch.tensor([-1.0, 0.0, 1.0])
    >>> projected(torch.tensor([[0.0, 1.0, 0.0]]), z, torch.tensor([0.25]), torch.tensor([0.9]))
    tensor([[0.0000, 0.7500, 0.2500]])

    Source: Bellemare et al. 2017, Eq. 7.
    """
    moved = (rewards.unsqueeze(1) + discounts.unsqueeze(1) * support).clamp(support[0], support[-1])
    apart = (moved.unsqueeze(1) - support.unsqueeze(1)).abs() / (support[1] - support[0])
    return ((1 - apart).clamp(0, 1) * probabilities.unsqueeze(1)).sum(-1)
