"""A head with two frozen copies whose difference is added to its output: room for plasticity injection.

The copies, `injection.old` and `injection.frozen`, have buffers in place of parameters. As long as both are equal, the
network computes the same as before, gradients included. The names of its parameters do not change.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

__all__ = ["FROZEN", "OLD", "InjectedChain", "Injection", "frozen_copy", "inject_into"]

OLD, FROZEN = "injection.old", "injection.frozen"


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy that does not train: every parameter is a buffer.

    >>> copied = frozen_copy(nn.Linear(3, 2))
    >>> list(copied.parameters()), [name for name, _ in copied.named_buffers()]
    ([], ['weight', 'bias'])
    """
    copied = copy.deepcopy(module)
    for part in copied.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
    return copied


class Injection(nn.Module):
    """Adds old(f) - frozen(f) to what a head gives for f.

    Args:
        head: what the two are copies of.

    Attributes:
        muted: whether nothing is added. `neoteny.units.find` sets it in a copy, to find the units of the head alone.
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.old, self.frozen, self.muted = frozen_copy(head), frozen_copy(head), False

    def forward(self, output: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The head's output for these arguments, with the difference."""
        if self.muted:
            return output
        # Views gather the gradients of both copies, which cancel exactly while the copies are equal.
        args, kwargs = tree_map_only(Tensor, lambda value: value.view_as(value), (args, kwargs))
        old, frozen = self.old(*args, **kwargs), self.frozen(*args, **kwargs)
        return tree_map(lambda own, a, b: own + (a - b) if isinstance(own, torch.Tensor) else own, output, old, frozen)


class InjectedChain(nn.Module):
    """The layers of an `nn.Sequential`, by the names they have there; the head is those from `start` on.

    Args:
        layers: the chain.
        start: number of the head's first layer.

    >>> chain = InjectedChain(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), 2)
    >>> [name for name, _ in chain.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, layers: nn.Sequential, start: int):
        super().__init__()
        children = list(layers.named_children())
        self._body, self._head = ([name for name, _ in part] for part in (children[:start], children[start:]))
        for name, layer in children:
            self.add_module(name, layer)
        self.injection = Injection(nn.Sequential(OrderedDict(children[start:])))
        if isinstance(own := getattr(layers, "initialisers", None), dict):
            self.initialisers = own
        self.training = layers.training

    def forward(self, x: Tensor) -> Tensor:
        """The output of the chain."""
        for name in self._body:
            x = self.get_submodule(name)(x)
        features = x
        for name in self._head:
            x = self.get_submodule(name)(x)
        return self.injection(x, (features,), {})

    def __len__(self) -> int:
        return len(self._body) + len(self._head)

    def __iter__(self) -> Iterator[nn.Module]:
        return (self.get_submodule(name) for name in (*self._body, *self._head))

    def __getitem__(self, number: int) -> nn.Module:
        return list(self)[number]


def inject_into(head: nn.Module) -> None:
    """Give any module the two copies."""
    head.add_module("injection", Injection(head))
    head.register_forward_hook(_injected, with_kwargs=True)


def _injected(head: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    return head.get_submodule("injection")(output, args, kwargs)
