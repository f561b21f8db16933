"""Dueling networks: the value of a state, and by how much each action is better.

Wang, Schaul, Hessel, van Hasselt, Lanctot & de Freitas, "Dueling network architectures for deep reinforcement
learning", ICML 2016.
"""

from __future__ import annotations

from torch import Tensor

from neoteny.nn.initialised import InitialisedModule

__all__ = ["Dueling"]


class Dueling(InitialisedModule):
    """q(s, a) = v(s) + g(s, a) - mean over actions of g(s, .), of a network that gives v and the g side by side.

    Args:
        network: such as an `MLP` or a `MinAtarNet`, with one output more than there are actions.

    Shapes: inputs as the network's; outputs [batch, actions].

    >>> import torch
    >>> from neoteny.nn import MLP
    >>> Dueling(MLP(4, [8], 1 + 3))(torch.zeros(5, 4)).shape
    torch.Size([5, 3])

    Source: Wang et al., ICML 2016, Eq. 9.
    """

    def __init__(self, network: InitialisedModule):
        super().__init__()
        self.network = network
        self.initialisers = {f"network.{name}": drawn for name, drawn in network.initialisers.items()}

    def forward(self, x: Tensor) -> Tensor:
        """The values of the actions."""
        outputs = self.network(x)
        better = outputs[..., 1:]
        return outputs[..., :1] + better - better.mean(-1, keepdim=True)
