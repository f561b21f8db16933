"""Streams learned by networks with a memory: their state is carried from step to step, with the run's other state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from neoteny.lab.objective import Batch, Forward, Objective
from neoteny.lab.temporal import TemporalDifference, temporal_difference
from neoteny.optim.base import Optimizer

__all__ = ["Remembering", "recurrent_temporal_difference"]

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Remembering:
    """An `Interaction` that keeps the state of a network: `forward(x, state)` gives outputs and the state after x.

    The phases find the state before `inputs` in the batch, under the names of the state's tensors, and learn with it;
    the next step begins with the state after `inputs`, at the weights before the step.

    Args:
        first: the state before the first step, without the dimension of examples.
    """

    first: Mapping[str, Tensor]

    def init(self) -> Tensors:
        """Nothing is remembered."""
        return {name: value.clone() for name, value in self.first.items()}

    def begin(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """Nothing happens before the first step."""
        return state

    def before(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> tuple[Tensors, Batch]:
        """The state after the step, and the batch with the one before it."""
        given = {name: value.unsqueeze(0) for name, value in state.items()}
        _, after = forward(batch["inputs"], given)
        return {name: value.squeeze(0) for name, value in after.items()}, {**batch, **given}

    def after(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """As it was before."""
        return state


@dataclass(frozen=True)
class RecurrentTemporalDifference(TemporalDifference):
    """See `TemporalDifference`; the values of x and x' are those after all that came before.

    Args:
        discount: gamma.
        decay: gamma lambda.
        follows: as there.
        names: of the state's tensors.
    """

    names: tuple[str, ...] = ()

    def values(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs for x, and for x' after it."""
        outputs, after = forward(batch["inputs"], {name: batch[name] for name in self.names})
        following, _ = forward(batch["next"], after, observed=False)
        return outputs, following


def recurrent_temporal_difference(
    optimizer: Optimizer, discount: float, trace: float, first: Mapping[str, Tensor]
) -> Objective:
    """TD(lambda) on a network with a memory, such as `neoteny.nn.RecurrentTraceNetwork`.

    Args:
        optimizer: a rule that follows predictions, such as `ObGD`.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].
        first: the network's state before the first step, without the dimension of examples.

    Raises:
        SettingError: as `temporal_difference`.

    >>> from neoteny.nn import RecurrentTraceNetwork
    >>> from neoteny.optim import ObGD
    >>> first = {name: value[0] for name, value in RecurrentTraceNetwork(3, 4, 1).layer.state(1).items()}
    >>> recurrent_temporal_difference(ObGD(), 0.9, 0.8, first).metrics[:2]
    ('loss', 'td_error')
    """
    objective = temporal_difference(optimizer, discount, trace)
    (phase,) = objective.phases
    plain = phase.evaluate
    assert isinstance(plain, TemporalDifference)
    own = RecurrentTemporalDifference(plain.discount, plain.decay, plain.follows, tuple(first))
    return replace(objective, phases=(replace(phase, evaluate=own),), interaction=Remembering(first))
