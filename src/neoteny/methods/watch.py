"""See the activations of the batches a user's network is trained on.

`neoteny.units.observe.Observer` keeps the last forward pass, whatever it was for; on a user's network, forward passes
come for training and evaluation, several before one optimizer step, through the whole model or parts of it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.units.records import Network

_PASSES = 64  # kept between two steps: a user who never steps does not run out of memory


class TrainingFeatures:
    """Forward pre-hooks on the readers of unit layers: what training passes showed since the last `take`.

    A pass counts where the reader is in training mode and gradients are being recorded. Copies of the network (target
    networks, moving averages) and its pickles carry a hook that does nothing.

    Args:
        model: the network.
        network: its unit layers.
    """

    def __init__(self, model: nn.Module, network: Network):
        self._readers = {layer.name: layer.readers[0] for layer in network.layers if layer.readers}
        self._seen: dict[str, deque[Tensor]] = {}
        self._handles = []
        for name in dict.fromkeys(reader.module for reader in self._readers.values()):
            module = model.get_submodule(name)
            self._seen[name] = deque(maxlen=_PASSES)
            self._handles.append(module.register_forward_pre_hook(_Hook(module, self._seen[name]), with_kwargs=True))

    def take(self) -> dict[str, Tensor]:
        """The activations of all training passes since the last call, `[batch, units, positions]`, by layer.

        Passes are joined along the batch; where their numbers of positions differ, positions count as examples.
        """
        features = {}
        for layer, reader in self._readers.items():
            passes = [reader.features(value) for value in self._seen[reader.module]]
            if len({value.shape[2] for value in passes}) > 1:
                passes = [value.movedim(2, 1).flatten(0, 1).unsqueeze(2) for value in passes]
            if passes:
                features[layer] = torch.cat(passes) if len(passes) > 1 else passes[0]
        for values in self._seen.values():
            values.clear()
        return features

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        for values in self._seen.values():
            values.clear()


class _Hook:
    def __init__(self, module: nn.Module, seen: deque[Tensor]):
        self.module, self.seen = module, seen

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module is self.module and module.training and torch.is_grad_enabled():
            self.seen.append((args[0] if args else kwargs["input"]).detach())

    def __reduce__(self):
        return _nothing, ()


def _nothing():
    return _ignore


def _ignore(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    pass
