"""A pure function of a state as one compiled call that writes the new state into the tensors of the old one.

The new state is copied into the old one inside the graph, so no tensor is made at a call, and the state keeps its place
in memory. What TorchInductor compiles is called directly (see `neoteny.lab.graph`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from neoteny.lab.graph import Tree, direct, through_dynamo
from neoteny.progress import stage


class InPlace:
    """`function(state, *arguments) -> (new state, result)`, called with a flat list of tensors.

    Args:
        function: pure, over trees of tensors; the new state has the structure of the old one.
        state: an example, for shapes, types and strides; it is not changed.
        arguments: an example of the arguments.
        compile: False calls the function as it is. On a GPU it is compiled by `torch.compile` and the new state copied.

    >>> def count(state, by):
    ...     return {"sum": state["sum"] + by}, state["sum"] * 2
    >>> state = {"sum": torch.tensor(3.0)}
    >>> call = InPlace(count, state, [torch.tensor(0.0)], compile=False)
    >>> call([state["sum"], torch.tensor(4.0)]), state
    (tensor(6.), {'sum': tensor(7.)})
    """

    def __init__(
        self, function: Callable[..., tuple[Tree, Tree]], state: Tree, arguments: Sequence[Tree], compile: bool
    ):
        begun = time.perf_counter()
        leaves, self._state = tree_flatten(state)
        given, self._arguments = tree_flatten(list(arguments))
        self._function, self._kept = function, len(leaves)
        with stage("compiling") if compile else nullcontext():
            self._call = (direct(self._flat, [*leaves, *given]) if compile else None) or self._flat
        if compile and self._call == self._flat:
            self._function = through_dynamo(function)
        self.seconds = time.perf_counter() - begun

    def __call__(self, tensors: list[Tensor]) -> Tree:
        """Call the function.

        Args:
            tensors: those of the state, which are written to, then the arguments', in the order of `tree_leaves`.

        Returns:
            The function's result.
        """
        found = self._call(tensors)
        return found[0] if self._alone else found and tree_unflatten(list(found), self._result)

    @torch.no_grad()
    def _flat(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        old = list(tensors[: self._kept])
        arguments = tree_unflatten(list(tensors[self._kept :]), self._arguments)
        state, result = self._function(tree_unflatten(old, self._state), *arguments)
        found, self._result = tree_flatten(result)
        self._alone = self._result.is_leaf()
        # what shares memory with the old state is copied before that is overwritten
        memory = {_memory(tensor) for tensor in old}
        found = [tensor.clone() if _memory(tensor) in memory else tensor for tensor in found]
        moves = [(a, b) for a, b in zip(old, self._state.flatten_up_to(state), strict=True) if a is not b]
        moves = [(a, b.clone() if _memory(b) in memory else b) for a, b in moves]
        for a, b in moves:
            a.copy_(b)
        return found


class Advance(InPlace):
    """`function(state, *arguments) -> new state`, compiled, called as a `Graph` is; the state is written to.

    Much of a large network's step goes into reading and writing its optimizer's state. In place that takes half the
    time, as nothing is read that is only overwritten.
    """

    def __init__(self, function: Callable[..., Tree], state: Tree, arguments: Sequence[Tree]):
        super().__init__(lambda *given: (function(*given), ()), state, arguments, compile=True)

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        """The state's tensors."""
        state = tensors[: self._kept]
        super().__call__(tensors)
        return state


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
