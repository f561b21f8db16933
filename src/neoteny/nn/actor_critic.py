"""The agent's two networks of the paper: an actor that gives a Gaussian's mean, and a critic that gives a value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import InitialisedModule, Normalisation, Scheme
from neoteny.nn.mlp import MLP
from neoteny.units.initialise import Initialiser

__all__ = ["ActorCritic"]


class ActorCritic(InitialisedModule):
    """A Gaussian policy and a value function, with no layer in common.

    The policy is a ~ N(mu(s), exp(2 l)): mu is an `MLP` of the state, l, the logarithm of the standard deviation of
    each action, is a parameter of its own, the same in all states.

    Args:
        observations: number of observed values.
        actions: number of actions, A.
        hidden: the sizes of the hidden layers of each network.
        activation: as for `MLP`.
        initialisation: as for `MLP`; the paper's agents begin with `lecun`.
        normalisation: as for `MLP`.
        log_std: l at the beginning.

    Shapes: states [batch, observations]; output [batch, 2 A + 1]: mu, l and the value, side by side.

    Raises:
        SettingError: a size below 1.
        UnknownNameError: an activation, initialisation or normalisation that does not exist.

    >>> agent = ActorCritic(27, 8)
    >>> mean, log_std, value = agent.split(agent(torch.zeros(5, 27)))
    >>> mean.shape, log_std.shape, value.shape
    (torch.Size([5, 8]), torch.Size([5, 8]), torch.Size([5]))

    Source: Dohare et al., Nature 632, 2024, Methods; the authors' public `lop/nets/policies.py` and `valuefs.py`.
    """

    def __init__(
        self,
        observations: int,
        actions: int,
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        initialisation: Scheme = "lecun",
        normalisation: Normalisation | None = None,
        log_std: float = 0.0,
    ):
        super().__init__()
        if actions < 1:
            raise SettingError(f"actions = {actions}: an agent needs at least one action.")
        self.actor = MLP(observations, hidden, actions, activation, initialisation, normalisation)
        self.critic = MLP(observations, hidden, 1, activation, initialisation, normalisation)
        self.log_std = nn.Parameter(torch.full((actions,), float(log_std)))
        self.initialisers = {"log_std": Initialiser("constant", float(log_std))}
        for name in ("actor", "critic"):
            own = self.get_submodule(name).initialisers
            assert isinstance(own, dict)
            self.initialisers |= {f"{name}.{key}": initialiser for key, initialiser in own.items()}

    def forward(self, states: Tensor) -> Tensor:
        """Mean, logarithm of the standard deviation and value, [batch, 2 A + 1]."""
        mean = self.actor(states)
        return torch.cat([mean, self.log_std.expand_as(mean), self.critic(states)], dim=-1)

    @staticmethod
    def split(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parts of `forward`'s outputs [..., 2 A + 1]: mean [..., A], log std [..., A], value [...]."""
        actions = outputs.shape[-1] // 2
        return outputs[..., :actions], outputs[..., actions : 2 * actions], outputs[..., -1]
