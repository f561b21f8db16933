"""Networks of agents for continuous actions: an actor, critics of states and actions, a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import Normalisation, Scheme
from neoteny.nn.mlp import MLP
from neoteny.nn.networks import Networks
from neoteny.units.initialise import Initialiser

__all__ = ["CriticEnsemble", "GaussianActor", "IQLNetworks", "SoftActorCritic"]


class CriticEnsemble(nn.ModuleList):
    """K networks of a state and an action, with no layer in common.

    Args:
        critics: the networks, each from [batch, O + A] to [batch, 1].

    Shapes: states [batch, O], actions [batch, A]; output [batch, K].

    >>> CriticEnsemble([MLP(5, [4], 1), MLP(5, [4], 1)])(torch.zeros(3, 4), torch.zeros(3, 1)).shape
    torch.Size([3, 2])
    """

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """A value by each critic."""
        both = torch.cat([states, actions], -1)
        return torch.cat([critic(both) for critic in self], -1)


class SoftActorCritic(Networks):
    """The networks of soft actor-critic: `actor`, `critic`, and the parameter `log_temperature`.

    Args:
        observations: O.
        actions: A.
        hidden: sizes of the hidden layers of every network.
        critics: K.
        activation: as for `neoteny.nn.MLP`.
        initialisation: as for `neoteny.nn.MLP`.
        normalisation: of the critics, as for `neoteny.nn.MLP`; the actor has none.
        dropout: of the critics (DroQ has 0.01, with layer norm).
        temperature: alpha at first.

    Shapes: the actor gives mean and logarithm of the standard deviation [batch, 2 A] of states [batch, O]; the critics
    give [batch, K] of states and actions [batch, A].

    Raises:
        SettingError: a size below 1, or a temperature that is not above 0.

    >>> networks = SoftActorCritic(4, 2, [8])
    >>> networks("critic", torch.zeros(3, 4), torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        hidden: Sequence[int] = (256, 256),
        critics: int = 2,
        activation: str = "relu",
        initialisation: Scheme = "kaiming_uniform",
        normalisation: Normalisation | None = None,
        dropout: float = 0.0,
        temperature: float = 1.0,
    ):
        if critics < 1 or actions < 1:
            raise SettingError(f"critics = {critics}, actions = {actions}: there must be at least one of each.")
        if not 0 < temperature < math.inf:
            raise SettingError(f"temperature = {temperature}: it must be a finite number above 0.")
        super().__init__(
            {
                "actor": MLP(observations, hidden, 2 * actions, activation, initialisation),
                "critic": CriticEnsemble(
                    [
                        MLP(observations + actions, hidden, 1, activation, initialisation, normalisation, dropout)
                        for _ in range(critics)
                    ]
                ),
            }
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.initialisers: Mapping[str, Initialiser] = {
            "log_temperature": Initialiser("constant", math.log(temperature))
        }


class GaussianActor(nn.Module):
    """A Gaussian policy whose mean is within (-1, 1), and whose standard deviation is the same in all states.

    Args:
        observations: O.
        actions: A.
        hidden: sizes of the hidden layers.
        activation: as for `neoteny.nn.MLP`.
        initialisation: as for `neoteny.nn.MLP`.
        log_std: logarithm of the standard deviation at first; it is kept within [-5, 2].

    Shapes: states [batch, O]; mean and logarithm of the standard deviation [batch, 2 A].

    >>> GaussianActor(4, 2, [8])(torch.zeros(3, 4)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        initialisation: Scheme = "kaiming_uniform",
        log_std: float = 0.0,
    ):
        super().__init__()
        self.mean = MLP(observations, hidden, actions, activation, initialisation)
        self.log_std = nn.Parameter(torch.full((actions,), float(log_std)))
        self.initialisers: Mapping[str, Initialiser] = {
            "log_std": Initialiser("constant", float(log_std)),
            **{f"mean.{name}": drawn for name, drawn in self.mean.initialisers.items()},
        }

    def forward(self, states: Tensor) -> Tensor:
        """Mean and logarithm of the standard deviation, side by side."""
        mean = self.mean(states).tanh()
        return torch.cat([mean, self.log_std.clamp(-5.0, 2.0).expand_as(mean)], -1)


class IQLNetworks(Networks):
    """The networks of implicit Q-learning: `actor`, `critic` and `value`, all with hidden layers of the same sizes.

    Args:
        observations: O.
        actions: A.
        hidden: sizes of the hidden layers.
        critics: K.
        activation: as for `neoteny.nn.MLP`.
        initialisation: as for `neoteny.nn.MLP`.

    >>> list(IQLNetworks(4, 2, [8]))
    ['actor', 'critic', 'value']
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        hidden: Sequence[int] = (256, 256),
        critics: int = 2,
        activation: str = "relu",
        initialisation: Scheme = "kaiming_uniform",
    ):
        shape = (hidden, 1, activation, initialisation)
        super().__init__(
            {
                "actor": GaussianActor(observations, actions, hidden, activation, initialisation),
                "critic": CriticEnsemble([MLP(observations + actions, *shape) for _ in range(critics)]),
                "value": MLP(observations, *shape),
            }
        )
