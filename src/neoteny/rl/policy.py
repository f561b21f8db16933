"""What all agents do next: the means of a stack of policies, as fast as a step of physics deserves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from neoteny.nn.mlp import MLP

__all__ = ["Policy"]


class Policy:
    """The actors of R agents, frozen as they are between two phases of updates.

    A call costs about as much as its matrix products: the layers of an `MLP` are gone through by hand, since at one
    state an agent everything else (autograd, modules, `vmap`) would take longer than they do. Any other actor
    is called.

    Args:
        actor: the module, on the meta device; what it computes must depend on its parameters and input alone.

    Shapes: states [R, E, observations] to means [R, E, actions]; call it where gradients are off.
    """

    def __init__(self, actor: nn.Module):
        self._actor = actor
        self._layers: list[tuple[str, nn.Module]] | None = None
        if type(actor) is MLP:  # of a class of its own nobody knows what it does besides
            layers = list(actor.layers.named_children())
            if all(isinstance(layer, nn.Linear) or not [*layer.parameters()] for _, layer in layers):
                self._layers = layers
        self._tensors: dict[str, Tensor] = {}
        self._device = torch.device("cpu")
        self._steps: list[Callable[[Tensor], Tensor]] = []

    def use(self, tensors: Mapping[str, Tensor]) -> None:
        """Act by these parameters from now on, `[R, ...]` each, by their names in the actor."""
        self._tensors = dict(tensors)
        self._device = next(iter(tensors.values())).device
        self._steps = []
        for name, layer in self._layers or ():
            if isinstance(layer, nn.Linear):
                weight = tensors[f"layers.{name}.weight"].transpose(1, 2).contiguous()
                shift = tensors[f"layers.{name}.bias"].unsqueeze(1).contiguous()
                self._steps.append(lambda h, weight=weight, shift=shift: torch.baddbmm(shift, h, weight))
            else:
                self._steps.append(layer.forward)  # nobody's hooks are on it

    def __call__(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """The means of the actions."""
        h = torch.from_numpy(states)
        if self._device.type != "cpu":
            h = h.to(self._device)
        if self._layers is None:
            call = torch.func.vmap(lambda tensors, x: functional_call(self._actor, tensors, (x,)))
            h = call(self._tensors, h)
        for step in self._steps:
            h = step(h)
        return h.numpy() if self._device.type == "cpu" else h.cpu().numpy()
