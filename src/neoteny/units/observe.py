"""See the activations of hidden units: a unit is read as the input of the module that reads it.

So activations that are functions (`F.relu`) need no module, and nothing in the network is replaced.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neoteny.units.records import Network, Reader

__all__ = ["Observer"]


class Observer:
    """Hooks on the first reader of each unit layer, and what they saw since the last `take`.

    A forward pass puts what the readers show into a store; `take` turns it into features and empties it. All
    calls of a reader show the units; a recurrent cell has as many calls as there are steps.
    Under `torch.func` or `torch.compile`, call `take` inside the traced function: a tensor left in the store would leak
    out of the trace. The caller decides which passes count (training, not evaluation): drop what `take` gives, or set
    `enabled`.

    Args:
        model: the network, or one with the same module names.
        network: its unit layers, from `neoteny.units.find`.
        detached: whether what is seen is cut off from the graph that it came from.

    Attributes:
        enabled: while False, nothing is stored.

    >>> import torch
    >>> from neoteny.units import find
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> with Observer(net, find(net, torch.zeros(1, 3))) as observer:
    ...     _ = net(torch.zeros(5, 3))
    ...     observer.take()["0"].shape
    torch.Size([5, 4, 1])
    """

    def __init__(self, model: nn.Module, network: Network, *, detached: bool = True):
        self.enabled, self._detached = True, detached
        self._readers: dict[str, Reader] = {layer.name: layer.readers[0] for layer in network.layers if layer.readers}
        self._store: dict[str, list[Tensor]] = {layer: [] for layer in self._readers}
        self._handles = [
            reader.listen(model.get_submodule(reader.module), self._see(layer))
            for layer, reader in self._readers.items()
        ]

    def _see(self, layer: str) -> Callable[[nn.Module, Tensor], None]:
        def keep(module: nn.Module, value: Tensor) -> None:
            if self.enabled:
                self._store[layer].append(value.detach() if self._detached else value)

        return keep

    def take(self) -> dict[str, Tensor]:
        """The activations seen since the last call, `[batch, units, positions]` by layer; the store is emptied.

        Calls are joined along the batch; where their numbers of positions differ, positions count as examples. Layers
        that no pass reached are left out.
        """
        found = {}
        for layer, seen in self._store.items():
            calls = [self._readers[layer].features(value) for value in seen]
            seen.clear()
            if len({value.shape[2] for value in calls}) > 1:
                calls = [value.movedim(2, 1).flatten(0, 1).unsqueeze(2) for value in calls]
            if calls:
                found[layer] = torch.cat(calls) if len(calls) > 1 else calls[0]
        return found

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        for seen in self._store.values():
            seen.clear()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
