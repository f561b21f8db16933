"""Which modules make a network's output, asked of autograd's graph: the last ones on every way to it.

The gradient in `tracing.py` cuts a network at the linear maps that it knows. A head may be something else: a module of
distances or cosines, a linear map whose weight is computed, a matrix that belongs to no module. So here every module
with a weight of its own marks what it gives, and the graph is followed from the output back to the first marks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from neoteny.units.copying import output_tensors, set_mode
from neoteny.units.inputs import arguments_of, first_examples
from neoteny.units.light import light_copy
from neoteny.units.maps import is_linear, is_norm

__all__ = ["Makers", "makers_of", "own_parameters"]

_JOINING = ("Add", "Cat", "Stack")  # nodes that put their inputs side by side; others combine them


@dataclass
class Makers:
    """Who makes the output.

    Attributes:
        modules: names of the modules whose weights make it, called or not; or of a matrix beside other modules.
        towers: for each of them the modules that lead to it, with norms, in order of execution, and itself.
    """

    modules: tuple[str, ...]
    towers: Mapping[str, tuple[str, ...]]


@dataclass
class _Read:
    """What a tensor's graph leads back to first."""

    marks: set[str] = field(default_factory=set)
    norms: set[str] = field(default_factory=set)
    matrices: set[str] = field(default_factory=set)  # owners of parameters that are reached without a mark

    def add(self, other: _Read) -> None:
        self.marks |= other.marks
        self.norms |= other.norms
        self.matrices |= other.matrices

    @property
    def constant(self) -> bool:
        """Whether it is computed from matrices alone."""
        return bool(self.matrices) and not self.marks


class _Graph:
    """One forward pass of a copy, its modules' outputs marked in autograd's graph."""

    def __init__(self, model: nn.Module):
        self.order: list[str] = []
        self.reads: dict[str, _Read] = {}
        self._marks: dict[Any, tuple[str, bool]] = {}
        self._found: dict[Any, _Read] = {}
        self._kept: list[Any] = []  # so that no node takes the identity of an earlier one
        self._owners: dict[int, str] = {}
        self._inside: list[str] = []
        modules = dict(model.named_modules())
        for name, module in modules.items():
            whole = next(module.children(), None) is None or ".parametrizations" in f".{name}"
            for own, parameter in module.named_parameters(name, recurse=False):
                if not is_norm(module) and _is_matrix(parameter):
                    self._owners.setdefault(id(parameter), _owner(name) if whole else own)
        for name, module in modules.items():
            if ".parametrizations." not in f".{name}.":
                if is_norm(module):
                    module.register_forward_hook(self._marker(name, norm=True), with_kwargs=True)
                elif _makes(module):
                    module.register_forward_hook(self._marker(name, norm=False), with_kwargs=True)

    def _marker(self, name: str, norm: bool) -> Any:
        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if name not in self.order:
                self.order.append(name)
            if not norm:
                self.reads.setdefault(name, _Read()).add(self.read(tree_leaves((args, kwargs))))
            for value in tree_leaves(output):
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    self._kept.append(value.grad_fn)
                    self._marks[value.grad_fn] = (name, norm)

        return after

    def read(self, tensors: Iterable[Any]) -> _Read:
        """What these tensors lead back to first."""
        total = _Read()
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                total.add(self._of(tensor.grad_fn))
        return total

    def _of(self, start: Any) -> _Read:
        ahead = [start]
        while ahead:
            node = ahead[-1]
            if node in self._found:
                ahead.pop()
                continue
            name, norm = self._marks.get(node, (None, True))
            following = [n for n, _ in node.next_functions if n is not None] if norm else []
            missing = [n for n in following if n not in self._found]
            if missing:
                ahead += missing
                continue
            ahead.pop()
            self._found[node] = self._combined(node, [self._found[n] for n in following])
            self._kept.append(node)
            if name is not None:
                (self._found[node].norms if norm else self._found[node].marks).add(name)
        return self._found[start]

    def _combined(self, node: Any, parts: list[_Read]) -> _Read:
        found = _Read()
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in self._owners:
            found.matrices.add(self._owners[id(variable)])
        constant = [part for part in parts if part.constant]
        if constant and len(constant) < len(parts) and not node.name().startswith(_JOINING):
            made = _Read(matrices=set().union(*(part.matrices for part in constant)))
            others = [part for part in parts if not part.constant]
            if any(part.marks for part in others):
                for owner in made.matrices:  # a module that is not called, or none: it makes what follows
                    read = self.reads.setdefault(owner, _Read())
                    for part in others:
                        read.add(part)
                    if owner not in self.order:
                        self.order.append(owner)
                return _Read(marks=set(made.matrices))
        for part in parts:
            found.add(part)
        return found


def makers_of(model: nn.Module, example_inputs: Any, training: bool = False) -> Makers:
    """The modules that make a network's output. It is run as a copy, in evaluation mode unless `training` is set.

    Args:
        model: the network.
        example_inputs: a batch as the network takes it; its first two examples are enough.
        training: run it in training mode, where it may have more outputs.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(-1))
    >>> makers_of(net, torch.zeros(2, 3))
    Makers(modules=('2',), towers={'2': ('0', '2')})
    """
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for examples in (2, None):
            copied = light_copy(model)
            if training:
                set_mode(copied, True)
            for module in copied.modules():
                if hasattr(module, "muted"):  # frozen copies of a head are no head (nn/surgery/injection.py)
                    module.__dict__["muted"] = True
            for parameter in copied.parameters():
                parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
            args, kwargs = arguments_of(first_examples(example_inputs, examples))
            graph = _Graph(copied)
            try:
                output = copied(*args, **kwargs)
            except Exception:  # somebody's network may want its whole batch
                if examples is None:
                    raise
                continue
            read = graph.read(output_tensors(output))
            last = [name for name in graph.order if name in read.marks] or sorted(read.matrices)
            return Makers(tuple(last), {name: _tower(graph, name) for name in last})
    raise AssertionError


def own_parameters(model: nn.Module, name: str) -> tuple[str, ...]:
    """A module's own parameters, and those that its weights are computed from; of a parameter itself."""
    modules = dict(model.named_modules())
    if name not in modules:
        return (name,)
    module = modules[name]
    own = [of for of, _ in module.named_parameters(name, recurse=False)]
    computed = getattr(module, "parametrizations", None)
    if isinstance(computed, nn.Module):
        own += [of for of, _ in computed.named_parameters(f"{name}.parametrizations".lstrip("."))]
    return tuple(own)


def _tower(graph: _Graph, head: str) -> tuple[str, ...]:
    known, ahead = {head}, [head]
    while ahead:
        read = graph.reads.get(ahead.pop(), _Read())
        ahead += read.marks - known
        known |= read.marks | read.norms
    order = [name for name in graph.order if name in known and name != head]
    return (*order, head)


def _owner(name: str) -> str:
    """The module that a parameter of this module belongs to: that of a computed weight is the one that computes it."""
    return name.partition(".parametrizations")[0]


def _is_matrix(parameter: Tensor) -> bool:
    return sum(length > 1 for length in parameter.shape) > 1


def _makes(module: nn.Module) -> bool:
    """Whether what a module gives is made by weights of its own."""
    if is_linear(module) or isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Embedding)):
        return True
    leaf = next(module.children(), None) is None
    return leaf and any(_is_matrix(parameter) for parameter in module.parameters(recurse=False))
