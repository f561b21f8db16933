"""See the activations of hidden units: a unit is read as the input of the module that reads it.

So activations that are functions (`F.relu`) need no module, and nothing in the network is replaced.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neoteny.units.records import Network, Reader

__all__ = ["Observer"]


class Observer:
    """Forward pre-hooks on the first reader of each unit layer, and what they saw last.

    A forward pass puts the readers' inputs, detached, into a store; `take` turns them into features and empties it.
    Under `torch.func` or `torch.compile`, call `take` inside the traced function: a tensor left in the store would leak
    out of the trace. Whether a pass counts (training, not evaluation) is the caller's to say: `take` and drop, or set
    `enabled`.

    Arguments:
        model: the network, or one with the same module names.
        network: its unit layers, from `neoteny.units.find`.

    Attributes:
        enabled: while False, passes leave no trace.

    >>> import torch
    >>> from neoteny.units import find
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> with Observer(net, find(net, torch.zeros(1, 3))) as observer:
    ...     _ = net(torch.zeros(5, 3))
    ...     observer.take()["0"].shape
    torch.Size([5, 4, 1])
    """

    def __init__(self, model: nn.Module, network: Network):
        self.enabled = True
        self._store: dict[str, Tensor] = {}
        self._readers: dict[str, Reader] = {layer.name: layer.readers[0] for layer in network.layers}
        self._handles = [
            model.get_submodule(name).register_forward_pre_hook(self._hook(name), with_kwargs=True)
            for name in dict.fromkeys(reader.module for reader in self._readers.values())
        ]

    def _hook(self, name: str):
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.enabled:
                self._store[name] = (args[0] if args else kwargs["input"]).detach()

        return keep

    def take(self) -> dict[str, Tensor]:
        """The activations of the last forward pass, `[batch, units, positions]` by layer; the store is emptied.

        Layers that the pass did not reach are left out.
        """
        seen = dict(self._store)
        self._store.clear()
        return {
            layer: reader.features(seen[reader.module])
            for layer, reader in self._readers.items()
            if reader.module in seen
        }

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._store.clear()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
