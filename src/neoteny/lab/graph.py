"""A pure function of tensors as a compiled graph.

On a CPU the function is traced once for its flat list of tensors, and what TorchInductor makes of the trace is called
directly. `torch.compile` would read the function's Python code first, which takes most of the time of compiling a few
steps of a small network, and each call of what it returns costs 100 to 200 microseconds of Python. Nothing is checked
at a call: the caller gives tensors of the same shapes and types each time, all of them contiguous.
"""

from __future__ import annotations

import time
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from neoteny.compiling import CompileWarning, code_folder
from neoteny.progress import stage

__all__ = ["Graph", "direct", "through_dynamo"]

Tree = Any
"""A nested dict, list or tuple of tensors."""
Call = Callable[[list[Tensor]], Sequence[Tensor]]

_CONTRACT = {"cpp.enable_floating_point_contract_flag": "fast"}
"""Fused multiply-add: the hardware has it, and it rounds once instead of twice."""
_OPTIONS = {
    **_CONTRACT,
    # no checks of the inputs at each call
    "size_asserts": False,
    "alignment_asserts": False,
    # it would remove copies of what is overwritten later
    "pattern_matcher": False,
    # that the compiler knows the processor's instructions is not tried out: three times two seconds of a cold cache
    "cpp.vec_isa_ok": True,
}
_APART = {"max_fusion_size": 1}
"""No two operations share a loop. In torch 2.13 some that do fail: a value that a later loop reads is not found."""


class Graph:
    """A function of trees of tensors that is compiled at its first call; it records how long that took.

    Args:
        function: pure.
        spec: the structure of the tuple of its arguments.
        compile: False calls the function as it is.

    Attributes:
        result: the structure of the function's result, once it was called.
        seconds: of the first call, which compiles.

    >>> leaves, spec = tree_flatten(({"a": torch.ones(2)}, torch.tensor(3.0)))
    >>> Graph(lambda tree, by: {"b": tree["a"] * by}, spec, compile=False)(leaves)
    [tensor([3., 3.])]
    """

    def __init__(self, function: Callable[..., Tree], spec: TreeSpec, compile: bool):
        self._function, self._spec = function, spec
        self._call: Call | None = None if compile else self._flat
        self.seconds = 0.0

    def __call__(self, tensors: list[Tensor]) -> Sequence[Tensor]:
        """Call the function on the flat list of its tensors, which may be emptied; its result as a flat list."""
        if self._call is None:
            begun = time.perf_counter()
            with stage("compiling"):
                self._call = direct(self._flat, tensors)
                if self._call is None:
                    self._function = through_dynamo(self._function)
                    self._call = self._flat
                found = self._call(tensors)
            self.seconds = time.perf_counter() - begun
            return found
        return self._call(tensors)

    def _flat(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        found, self.result = tree_flatten(self._function(*tree_unflatten(list(tensors), self._spec)))
        return found


def direct(function: Callable[[list[Tensor]], Sequence[Tensor]], examples: Sequence[Tensor]) -> Call | None:
    """Compile a function for tensors like the examples, to which it may write; None where that must go another way.

    Its results are contiguous. Tensors that are not on a CPU, and a torch whose internals are others than expected, go
    through `torch.compile`; of the latter a warning tells.
    """
    if any(example.device.type != "cpu" for example in examples):
        return None
    code_folder()
    try:
        from torch._inductor.exc import InductorError

        with torch.no_grad():
            try:
                return _compiled(function, examples, _OPTIONS)
            except InductorError as error:
                reason = f"{error}".strip().partition("\n")[0]
                warnings.warn(
                    f"TorchInductor of torch {torch.__version__} cannot join the operations of this graph ({reason}), "
                    "so each is a loop of its own: the results differ by rounding, and a step takes longer.",
                    CompileWarning,
                    stacklevel=3,
                )
                return _compiled(function, examples, _OPTIONS | _APART)
    except (ImportError, AttributeError, TypeError) as error:
        warnings.warn(
            f"torch {torch.__version__} does not let a compiled graph be called directly ({error}), so calls go "
            "through torch.compile: the same results, but each call takes some 100 us longer. torch 2.13 is known to "
            "work.",
            CompileWarning,
            stacklevel=3,
        )
        return None


def _compiled(
    function: Callable[[list[Tensor]], Sequence[Tensor]], examples: Sequence[Tensor], options: Mapping[str, Any]
) -> Call:
    from torch._guards import TracingContext, detect_fake_mode, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.virtualized import V
    from torch.fx.experimental.proxy_tensor import make_fx

    def spread(*tensors: Tensor) -> list[Tensor]:
        return [tensor.contiguous() for tensor in function(list(tensors))]

    trace = make_fx(
        torch.func.functionalize(spread),
        decomposition_table=select_decomp_table(),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    graph = trace(*examples)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    # results keep the strides that they have here: they are given back at the next call
    output = next(node for node in graph.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in output.args[0]]  # pyright: ignore
    output.meta["user_visible_output_idxs"] = list(range(len(values)))
    output.meta["original_output_strides"] = [value.stride() for value in values]
    fakes = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    mode = detect_fake_mode(fakes)
    with config.patch(dict(options)), tracing(TracingContext(mode)), V.set_fake_mode(mode):
        made = compile_fx_inner(graph, fakes, static_input_idxs=range(len(fakes)))
    return getattr(made, "current_callable", None) or made


def through_dynamo(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by `torch.compile`, without guards: it is always called with the same structure."""
    code_folder()

    # A code object of its own: for each one Dynamo stops compiling after eight graphs, and those of different
    # strategies, lengths and learners share the code of the training step.
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    own = types.FunctionType(call.__code__.replace(), call.__globals__, call.__name__, None, call.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False, options={**_CONTRACT, "guard_filter_fn": _no_guards})


def _no_guards(guards: Sequence[Any]) -> list[bool]:
    return [False] * len(guards)
