"""Which layers, norms and activations of a network read which, found in one forward pass of a copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from neoteny.errors import NetworkError
from neoteny.nn.activation_modules import Concatenated, IntervalDropout, SmoothLeakyReLU
from neoteny.nn.surgery.elementwise import ElementwiseModules
from neoteny.nn.surgery.functions import FUNCTIONS, FunctionalActivation, called_as
from neoteny.units.copying import bare_copy, output_tensors
from neoteny.units.inputs import HOW, arguments_of, as_dict, first_examples
from neoteny.units.maps import is_linear, known_map

__all__ = [
    "ACTIVATIONS",
    "INPUT",
    "NORMS",
    "OUTPUT",
    "Part",
    "before",
    "hidden_activations",
    "hidden_functions",
    "own_activations",
    "parts_of",
]

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Softsign, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid,
    nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold, Concatenated, SmoothLeakyReLU, IntervalDropout,
    FunctionalActivation,
)  # fmt: skip
"""Modules that are taken for activations."""
NORMS: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
INPUT, OUTPUT = "the network's input", "the network's output"

_FUNCTIONS = FUNCTIONS | {"prelu"}

Kind = Literal["layer", "norm", "activation", "function", "other"]


@dataclass
class Part:
    """A module of the network, or a function that it calls as an activation.

    Attributes:
        name: the module's, or what function is called where.
        kind: `layer` (a linear map whose weight is its own), `norm`, `activation`, `function` (an activation that is
            no module) or `other` (a module with parameters that is none of these).
        module: the module, in the copy that was run; None for a function.
        values: its inputs, at its first call.
        reads: the parts on whose outputs its inputs depend directly.
        calls: how often it was called.
    """

    name: str
    kind: Kind
    module: nn.Module | None
    values: list[Tensor]
    reads: set[str] = field(default_factory=set)
    calls: int = 0

    @property
    def there(self) -> nn.Module:
        """The module of a part that is one."""
        assert self.module is not None
        return self.module


def parts_of(model: nn.Module, example_inputs: Any) -> dict[str, Part]:
    """The parts of a network in order of execution, and at the end its output, a part of the kind `other`.

    Args:
        model: the network; it is run as a copy, in evaluation mode.
        example_inputs: a batch as the network takes it, see `neoteny.units.inputs`.

    Raises:
        NetworkError: it cannot be copied, or does not run on these inputs.

    >>> parts = parts_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), torch.zeros(2, 3))
    >>> [(part.name, part.kind, part.reads) for part in parts.values()][1:3]
    [('1', 'activation', {'0'}), ('2', 'layer', {'1'})]
    """
    copied = bare_copy(model)
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    try:
        own = own_activations(copied, example_inputs)
        seen = _Seen(copied, own)
        with torch.enable_grad(), torch.compiler.set_stance("force_eager"), seen:
            args, kwargs = seen.arguments(example_inputs)
            output = copied(*args, **kwargs)
    except Exception as error:  # a user's network may fail in its own way
        raise NetworkError(
            f"{type(copied).__name__} does not run on example_inputs ({error}); give a batch as the network takes it: "
            f"{HOW}."
        ) from error
    seen.enter(OUTPUT, "other", None, output_tensors(output))
    return seen.parts


def own_activations(model: nn.Module, example_inputs: Any) -> set[str]:
    """Names of modules of other classes than `ACTIVATIONS` that are activations by what they compute."""
    found = ElementwiseModules(model, ACTIVATIONS)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
            args, kwargs = arguments_of(first_examples(example_inputs))
            model(*args, **kwargs)
    finally:
        found.remove()
    return found.names


def before(parts: Mapping[str, Part], name: str) -> Iterator[Part]:
    """The parts on which one depends, directly or not."""
    done, ahead = set[str](), [name]
    while ahead:
        for read in parts[ahead.pop()].reads - done - {INPUT}:
            done.add(read)
            ahead.append(read)
            yield parts[read]


def hidden_functions(parts: Mapping[str, Part]) -> list[Part]:
    """Those hidden activations that are no modules."""
    return [part for part in _hidden(parts) if part.kind == "function"]


def _hidden(parts: Mapping[str, Part]) -> list[Part]:
    modules = {name for name, part in parts.items() if part.kind in ("layer", "other")} - {OUTPUT}
    behind = {name: {part.name for part in before(parts, name)} for name in parts}
    read = set[str]().union(*(behind[name] for name in modules))
    return [
        part
        for name, part in parts.items()
        if part.kind in ("activation", "function") and name in read and behind[name] & modules
    ]


def hidden_activations(parts: Mapping[str, Part]) -> list[Part]:
    """The activations that read a layer, however far behind, and that one reads.

    Raises:
        NetworkError: there is none, or one that is no module.
    """
    found = _hidden(parts)
    function = next((part for part in found if part.kind == "function"), None)
    if function is not None:
        raise NetworkError(
            f"The activation {function.name} is a function that nothing can be put in place of: call a module there, "
            "such as nn.ReLU, kept as an attribute."
        )
    if not found:
        raise NetworkError(
            "The network has no activation module between two layers with weights; give one with nn.ReLU or the like."
        )
    return found


class _Seen(TorchFunctionMode):
    """What a forward pass shows, by hooks on all modules and by functions called outside those with a kind.

    What a part gives is marked in autograd's graph, and from what another one takes the graph leads back to such marks.
    """

    def __init__(self, model: nn.Module, activations: Collection[str]):
        super().__init__()
        self.parts: dict[str, Part] = {}
        self._marks: dict[Any, str] = {}
        self._inside: list[tuple[str, Kind | None]] = []
        shared = _shared(model)
        for name, module in model.named_modules():
            kind: Kind | None = "activation" if name in activations else _kind(module, shared)
            module.register_forward_pre_hook(partial(self._begin, name, kind), with_kwargs=True)
            module.register_forward_hook(partial(self._end, name, kind))

    def arguments(self, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments, marked copies of the example's tensors."""

        def marked(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.detach().clone()
            return value.requires_grad_().clone() if value.is_floating_point() else value

        copied = tree_map(marked, as_dict(example))
        self._mark(INPUT, copied)
        return arguments_of(copied)

    def enter(self, name: str, kind: Kind, module: nn.Module | None, inputs: Any) -> None:
        """Note a call."""
        tensors = [t for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.is_floating_point()]
        part = self.parts.setdefault(name, Part(name, kind, module, [t.detach() for t in tensors]))
        part.calls += 1
        for tensor in tensors:
            part.reads |= self._read(tensor)

    def _begin(self, name: str, kind: Kind | None, module: nn.Module, args: Any, kwargs: Any) -> None:
        if kind is not None and not self._covered:
            self.enter(name, kind, module, (args, kwargs))
        self._inside.append((name, kind))

    def _end(self, name: str, kind: Kind | None, module: nn.Module, args: Any, output: Any) -> None:
        self._inside.pop()
        if kind is not None and not self._covered:
            self._mark(name, output)

    @property
    def _covered(self) -> bool:
        """Whether what is called now belongs to a part that is itself being called."""
        return any(kind is not None for _, kind in self._inside)

    def _mark(self, name: str, tree: Any) -> None:
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self._marks[tensor.grad_fn] = name

    def _read(self, tensor: Tensor) -> set[str]:
        """The marks that a tensor's graph leads back to first."""
        found, done, ahead = set[str](), set[Any](), [tensor.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is None or node in done:
                continue
            done.add(node)
            if node in self._marks:
                found.add(self._marks[node])
            else:
                ahead += [following for following, _ in node.next_functions]
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called = called_as(func)
        if called not in _FUNCTIONS or self._covered:
            return func(*args, **(kwargs or {}))
        name = f"{called} in {(self._inside[-1][0] if self._inside else '') or 'the network'!r}"
        self.enter(name, "function", None, (args, kwargs))
        output = func(*args, **(kwargs or {}))
        self._mark(name, output)
        return output


def _shared(model: nn.Module) -> set[int]:
    """Parameters that several modules have."""
    seen, several = set[int](), set[int]()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (several if id(parameter) in seen else seen).add(id(parameter))
    return several


def _kind(module: nn.Module, shared: set[int]) -> Kind | None:
    own = list(module.parameters(recurse=False))
    if isinstance(module, ACTIVATIONS):
        return "activation"
    if isinstance(module, NORMS):
        return "norm"
    if is_linear(module):
        alone = known_map("", module) is not None and not shared.intersection(map(id, own))
        return "layer" if alone and getattr(module, "groups", 1) == 1 else "other"
    if isinstance(module, (nn.MultiheadAttention, nn.RNNCellBase, nn.RNNBase)):
        return "other"
    return "other" if own and not any(True for _ in module.children()) else None
