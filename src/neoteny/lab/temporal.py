"""Objectives of streams whose targets come later: temporal differences, for values and actions; labels with a delay.

All record as `loss` how good a prediction or an action was when it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from neoteny.checks import is_number
from neoteny.errors import SettingError
from neoteny.lab.losses import Loss
from neoteny.lab.objective import Batch, Evaluation, Forward, Objective, Phase
from neoteny.lab.prediction import supervised
from neoteny.optim.base import Optimizer
from neoteny.optim.own_steps import FACTORS
from neoteny.optim.signals import DELTA, ENDED, SIGNALS, TRACE_DECAY, decay_of
from neoteny.optim.tidbd import FOLLOWING
from neoteny.units import random

__all__ = ["Delayed", "Sarsa", "TemporalDifference", "delayed", "sarsa", "temporal_difference"]


@dataclass(frozen=True)
class TemporalDifference:
    r"""v(x) learns to be the discounted sum of coming cumulants, by delta = c + gamma v(x') - v(x) and traces.

    A batch is one transition: `inputs` x [1, ...], `next` x' [1, ...], `cumulants` c [1, 1], and `returns` G [1, 1],
    the sum as it turned out, for the score alone. Recorded are `loss` (v(x) - G)^2, the squared return error, and
    `td_error`, delta^2.

    Without traces there is another way to say the same: the gradient of delta^2 / 2 in v(x) alone. It lets every
    optimizer learn that descends losses.

    Args:
        discount: gamma.
        decay: gamma lambda.
        follows: what the optimizer follows; with a decay only `prediction` will do.
    """

    discount: float
    decay: float
    follows: Literal["loss", "prediction", "either"] = "prediction"

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that the optimizer gets."""
        return {"loss": (), "prediction": SIGNALS, "either": (DELTA,)}[self.follows]

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """The prediction or its squared error, the signals, and what is recorded."""
        outputs, after = self.values(forward, batch)
        if outputs.numel() != 1:
            raise SettingError(
                f"predictions of shape {tuple(outputs.shape)}: traces belong to one prediction; give one transition a "
                "step to a network with one output."
            )
        value = outputs.squeeze()
        following = self.discount * after.squeeze()
        target = batch["cumulants"].squeeze() + following.detach()
        delta = target - value.detach()
        signals = {
            DELTA: delta,
            TRACE_DECAY: torch.full_like(delta, self.decay),
            ENDED: torch.zeros((), dtype=torch.bool, device=delta.device),
        }
        said = {"loss": (value.detach() - batch["returns"].squeeze()).square(), "td_error": delta.square()}
        if self.follows == "loss":
            return Evaluation((target - value).square() / 2, said)
        return Evaluation(
            value, said, {n: signals[n] for n in self.signals}, {FOLLOWING: following, FACTORS: value.unsqueeze(0)}
        )

    def values(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs for x and for x'."""
        return forward(batch["inputs"]), forward(batch["next"], observed=False)


def temporal_difference(optimizer: Optimizer, discount: float, trace: float) -> Objective:
    """TD(lambda) on any network: one phase, whose optimizer follows the prediction (see `neoteny.optim.signals`).

    Args:
        optimizer: a rule that follows predictions, such as `TraceSGD`, `ObGD`, or for linear networks `SwiftTD`; with
            `trace=0`, TD(0), any optimizer.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].

    Raises:
        SettingError: a setting outside [0, 1]; an optimizer that keeps no traces, where there are some.

    >>> from neoteny.optim import ObGD
    >>> temporal_difference(ObGD(), discount=0.9, trace=0.8).metrics[:2]
    ('loss', 'td_error')
    """
    decay = decay_of(discount, trace)
    evaluate = TemporalDifference(discount, decay, "prediction" if decay else optimizer.follows)
    beside = (FOLLOWING, FACTORS) if evaluate.signals else ()
    phase = Phase(
        evaluate=evaluate, optimizer=optimizer, metrics=("td_error",), signals=evaluate.signals, beside=beside
    )
    return Objective(phases=(phase,))


@dataclass(frozen=True)
class Sarsa:
    """q(x, a) learns to be the discounted sum of coming rewards under the actions that are taken: epsilon-greedy.

    A batch is one transition: `inputs` x [1, n], `next` x' [1, n], and `rewards` [1, actions], what each action would
    get. The network is `neoteny.nn.LinearActionValues`, which keeps the present action. Recorded are `loss`, how much
    less the action got than the best one would have, and `td_error`, delta^2.

    Args:
        discount: gamma.
        decay: gamma lambda.
        exploration: the share of actions that are drawn at random.
    """

    discount: float
    decay: float
    exploration: float

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """The value of the action, its error, and what is recorded."""
        rewards = batch["rewards"].squeeze(0)
        explores, which = random.uniform(key, (2,))
        forced = torch.where(explores < self.exploration, (which * len(rewards)).long(), -1)
        value, following, action = forward(batch["inputs"], batch["next"], forced)
        reward = (rewards * (torch.arange(len(rewards), device=rewards.device) == action)).sum()
        delta = reward + self.discount * following.detach() - value.detach()
        signals = {
            DELTA: delta,
            TRACE_DECAY: torch.full_like(delta, self.decay),
            ENDED: torch.zeros((), dtype=torch.bool, device=delta.device),
        }
        return Evaluation(value, {"loss": rewards.max() - reward, "td_error": delta.square()}, signals)


def sarsa(optimizer: Optimizer, discount: float, trace: float, exploration: float) -> Objective:
    """Linear Sarsa(lambda) on rewards that do not change what comes; with the rule `SwiftTD` it is Swift-Sarsa.

    Args:
        optimizer: a rule that follows predictions.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].
        exploration: epsilon in [0, 1].

    Raises:
        SettingError: a setting outside [0, 1]; an optimizer that descends losses.
    """
    if not (is_number(exploration) and 0 <= exploration <= 1):
        raise SettingError(f"exploration = {exploration!r} is not a share in [0, 1]; 0.1 is usual.")
    evaluate = Sarsa(discount, decay_of(discount, trace), exploration)
    return Objective(phases=(Phase(evaluate=evaluate, optimizer=optimizer, metrics=("td_error",), signals=SIGNALS),))


@dataclass(frozen=True)
class Delayed:
    """Learn from `inputs` and `targets`, whose label has just come, and predict `latest`, whose label comes later.

    The recorded `loss` (and accuracy) is that of the prediction for `latest` against `truth`, which is not learned from
    yet.

    Args:
        evaluate: learns from inputs and targets.
        loss: judges the prediction.
    """

    evaluate: Callable[[Forward, Batch, Tensor], Evaluation]
    loss: Loss

    def __call__(self, forward: Forward, batch: Batch, key: Tensor) -> Evaluation:
        """What is learned, and the score of the prediction."""
        outputs, truth = forward(batch["latest"], observed=False).detach(), batch["truth"]
        found = self.evaluate(forward, batch, key)
        said = {"loss": self.loss(outputs, truth), **self.loss.judge(outputs, truth)}
        return found._replace(metrics={**found.metrics, **said})


def delayed(loss: Loss, optimizer: Optimizer) -> Objective:
    """The objective of a supervised network whose labels come with a delay.

    >>> from neoteny.lab.losses import LOSSES
    >>> from neoteny.optim import SGD
    >>> delayed(LOSSES["mse"], SGD()).metrics
    ('loss',)
    """
    objective = supervised(loss, optimizer)
    phases = tuple(replace(phase, evaluate=Delayed(phase.evaluate, loss)) for phase in objective.phases)
    return replace(objective, phases=phases)
