"""Linear values of actions, and the action that is being taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError

__all__ = ["LinearActionValues"]


class LinearActionValues(nn.Module):
    """q(x, a) = w_a.x, with weights of 0 at first; the buffer `action` is the action of the present step, a.

    Called with the features of the next step as well, it chooses the next action a': the one that is forced, or else
    the best, the first of equal ones. It returns q(x, a), q(x', a') and a, and a' becomes the present action.

    Args:
        inputs: features.
        actions: number of actions.

    Shapes: x [1, inputs]; q [1, actions], or three numbers []; forced int64 [], -1 forces none.

    Raises:
        SettingError: a size below 1.

    >>> values = LinearActionValues(2, 3)
    >>> values(torch.ones(1, 2), torch.ones(1, 2), torch.tensor(2))[2], values.action
    (tensor(0), tensor(2))
    """

    action: Tensor

    def __init__(self, inputs: int, actions: int):
        super().__init__()
        if min(inputs, actions) < 1:
            raise SettingError(f"{inputs} features and {actions} actions: there must be at least one of each.")
        self.layer = nn.Linear(inputs, actions, bias=False)
        nn.init.zeros_(self.layer.weight)
        self.register_buffer("action", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, following: Tensor | None = None, forced: Tensor | None = None):
        """The values of all actions; or those of this action and the next."""
        values = self.layer(x)
        if following is None or forced is None:
            return values
        numbers, later = torch.arange(values.shape[-1], device=x.device), self.layer(following).squeeze(0)
        chosen = torch.where(forced >= 0, forced, later.argmax())
        present = self.action.clone()
        self.action.copy_(chosen)
        return (values.squeeze(0) * (numbers == present)).sum(), (later * (numbers == chosen)).sum(), present
