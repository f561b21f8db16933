"""What a method keeps between steps, and what a step of it allocates, counted in tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neoteny.attachment.attach import attach
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import prepare

__all__ = ["Allocations", "memory"]

STEPS, TASK_AT = 10, 7
"""Optimizer steps, and those before the change of task: as in the contract suite."""


class Allocations(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within it.

    What an operation allocates and frees before it returns is not seen.

    Attributes:
        peak: the most that were alive at once.

    >>> x = torch.zeros(1000)
    >>> with Allocations() as seen:
    ...     y = (x + 1).mul_(2).view(10, 100) + 1
    >>> seen.peak
    8000
    """

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and see which storages are new and which are gone."""
        given = _storages((args, kwargs))
        result = func(*args, **(kwargs or {}))
        for address, storage in _storages(result).items():
            if address not in given and address not in self._alive:
                self._alive[address] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {address: one for address, one in self._alive.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    storages = [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return {storage._cdata: storage for storage in storages}


def memory(
    method: Method,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.mse_loss,
) -> tuple[float, float]:
    """What a method keeps between steps, and the most that it allocates beside that: `Method.memory` as measured.

    A copy of the network is trained by gradient descent for ten steps, with a change of task before the eighth.

    Args:
        method: with settings that make it act within ten steps, such as those of `Method.contract`.
        model: the network.
        x: a batch of inputs, also taken as the reference batch.
        y: its targets.
        loss: of outputs and targets.

    Returns:
        Both as multiples of the memory of the network's parameters; state that goes with units is not counted.

    >>> from neoteny.methods import L2Init
    >>> model = nn.Linear(100, 10)
    >>> memory(L2Init(strength=0.1), model, torch.zeros(2, 100), torch.zeros(2, 10))[0]
    1.0
    """
    model = prepare(model, method, x)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    plasticity = attach(model, optimizer, method, x, reference=x, only_preserving=False)
    most = 0
    for number in range(STEPS):
        if number == TASK_AT:
            with Allocations() as seen:
                plasticity.new_task()
            most = max(most, seen.peak)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        with Allocations() as seen:
            optimizer.step()
        most = max(most, seen.peak)
    size = sum(parameter.nbytes for parameter in model.parameters())
    layers = {layer.name for layer in plasticity.units.layers}
    kept = of_units = 0
    for state in plasticity._state.values():
        for name, value in state.items():
            if name.rpartition("/")[0] in layers:
                of_units += value.nbytes
            else:
                kept += value.nbytes
    return kept / size, (most - of_units) / size
