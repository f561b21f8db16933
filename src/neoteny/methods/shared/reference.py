"""The network as a pure function of its tensors, on a reference batch: one other than the batch trained on.

Some regularisers need the outputs for past examples, or for a set of examples kept for that. A copy of the network
without storage, in evaluation mode, computes them. So nothing of the user's own network is touched: no running
statistics, no dropout, no hooks.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._pytree import tree_leaves, tree_map_only

from neoteny.errors import SettingError
from neoteny.methods.base import OnReference, Tensors
from neoteny.units.inputs import arguments_of, as_dict
from neoteny.units.observe import Observer
from neoteny.units.records import Network

__all__ = ["ReferencePass", "detached"]


class ReferencePass:
    """A forward pass on a reference batch: outputs and hidden activations for any values of the tensors.

    Args:
        model: the network, without wrappers.
        network: its units.
        keeps: leave the tensors of the last pass in the copy, for networks that compute parts again in the backward
            pass (activation checkpointing).
    """

    def __init__(self, model: nn.Module, network: Network, keeps: bool = False):
        self._keeps, self._last = keeps, ExitStack()
        own, seen = {}, {}
        for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]:
            own[name] = seen.setdefault(id(tensor), name)
        self._shared = {name: first for name, first in own.items() if name != first}
        self._module = copy.deepcopy(model).to("meta").eval()
        self._observer = Observer(self._module, network, detached=False)

    def on(self, batch: Any) -> OnReference:
        """The function that gives outputs `[batch, ...]` and hidden activations `[batch, units, positions]` by layer.

        Several outputs are laid side by side, `[batch, outputs]`.

        Args:
            batch: as the network takes it, see `neoteny.units.inputs`.
        """
        args, kwargs = arguments_of(batch)

        def on_reference(tensors: Tensors) -> tuple[Tensor, Tensors]:
            every = {**tensors, **{name: tensors[first] for name, first in self._shared.items()}}
            self._last.close()
            with ExitStack() as stack:
                stack.enter_context(_reparametrize_module(self._module, every, stack_weights=True))
                outputs = self._module(*args, **kwargs)
                if self._keeps:
                    self._last = stack.pop_all()
            return _joined(outputs), self._observer.take()

        return on_reference


def _joined(outputs: Any) -> Tensor:
    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not found:
        raise SettingError(f"The network's output {type(outputs).__name__} holds no tensor of numbers to compare.")
    return found[0] if len(found) == 1 else torch.cat([leaf.reshape(len(leaf), -1) for leaf in found], 1)


def detached(batch: Any) -> Any:
    """A batch without the history of its tensors."""
    return tree_map_only(Tensor, Tensor.detach, as_dict(batch))
