"""A pure function of a state as one compiled call that writes the new state into the tensors of the old one.

A call of what `torch.compile` returns checks every input tensor, makes every output tensor, and passes both through
several layers of Python: about 100 to 200 microseconds for the 30 or so tensors of a small network's carry, while the
step itself takes 20. Here the function is traced once for its flat list of tensors, the new state is copied into the
old one inside the graph, and what TorchInductor compiles of it is called directly. Nothing is checked at a call: the
caller gives tensors of the same shapes, types and strides each time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from neoteny.lab.compiling import Compiled, CompileWarning, code_folder, own_code

Tree = Any
"""A nested dict, list or tuple of tensors."""
Call = Callable[[list[Tensor]], Sequence[Tensor]]

OPTIONS = {
    "cpp.enable_floating_point_contract_flag": "fast",  # as in `neoteny.lab.compiling`
    # no checks of the inputs at each call
    "size_asserts": False,
    "alignment_asserts": False,
    # it would remove copies of what is overwritten later
    "pattern_matcher": False,
}


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
        self._call = self._flat
        direct = compile and all(leaf.device.type == "cpu" for leaf in leaves)
        if direct:
            try:
                with torch.no_grad():
                    self._call = compiled(self._flat, [*leaves, *given])
            except (ImportError, AttributeError, TypeError) as error:  # a torch whose internals are others
                direct = False
                warnings.warn(
                    f"torch {torch.__version__} does not let a compiled graph be called directly ({error}), so calls "
                    "go through torch.compile: the same results, but each call takes some 100 us longer. torch 2.13 "
                    "is known to work.",
                    CompileWarning,
                    stacklevel=2,
                )
        if compile and not direct:
            self._function = Compiled(own_code(function), enabled=True)
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


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def compiled(function: Callable[[list[Tensor]], list[Tensor]], examples: Sequence[Tensor]) -> Call:
    """A function of a list of tensors, which may write to them, compiled by TorchInductor alone."""
    from torch._guards import TracingContext, detect_fake_mode, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.virtualized import V
    from torch.fx.experimental.proxy_tensor import make_fx

    code_folder()  # refuses one that is not ours

    def spread(*tensors: Tensor) -> list[Tensor]:
        return function(list(tensors))

    trace = make_fx(
        torch.func.functionalize(spread),
        decomposition_table=select_decomp_table(),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    graph = trace(*examples)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    fakes = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    mode = detect_fake_mode(fakes)
    with config.patch(OPTIONS), tracing(TracingContext(mode)), V.set_fake_mode(mode):
        made = compile_fx_inner(graph, fakes, static_input_idxs=range(len(fakes)))
    return getattr(made, "current_callable", None) or made
