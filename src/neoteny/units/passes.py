"""One forward pass of a network that is cut at its linear maps, and what it shows of who reads whom.

The output of each linear map is replaced by a fresh random leaf, and the output of each norm by its input. Several
passes on other leaves are merged into one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from neoteny.errors import NetworkError
from neoteny.units.copying import output_tensors
from neoteny.units.graph import Graph, Unanswered, came_from, distinct
from neoteny.units.inputs import HOW
from neoteny.units.maps import recognised
from neoteny.units.reading import Codes, Leaf, read_singly
from neoteny.units.states import States
from neoteny.units.trace import Masks, Trace

__all__ = ["Call", "check_calls", "is_number", "kind", "merge", "merge_bare", "read_still", "run"]


@dataclass
class Call:
    """A call of a module in a pass.

    Attributes:
        name: the module's.
        inputs: clones of the floating-point and complex tensors that it was given.
        origins: of each of these the identity and the version, so that calls on the very same tensor are known.
        leaves: what stands in place of its outputs.
        passed: of a norm, the operation in autograd's graph that stands for it.
    """

    name: str
    inputs: list[Tensor]
    origins: list[tuple[int, int]]
    leaves: list[Tensor]
    passed: Any = None


def check_calls(modules: Mapping[str, nn.Module], calls: list[Call], result: Trace) -> None:
    """Note who was called, how often at most, on what."""
    for name, times in Counter(call.name for call in calls).items():
        result.calls[name] = max(times, result.calls.get(name, 0))
    for call in calls:
        if call.name in result.order:
            continue
        result.order.append(call.name)
        known = result.maps.get(call.name)
        if known is not None and known.inputs is not None and call.inputs[0].dim() < known.spatial + 2:
            raise NetworkError(
                f"{call.name!r} ({kind(modules[call.name])}) saw an input of shape {list(call.inputs[0].shape)}, "
                "without a batch dimension; give example_inputs as a batch, x.unsqueeze(0)."
            )


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], pre: Any, post: Any) -> Iterator[None]:
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: pre(name)))
            handles.append(
                module.register_forward_hook(lambda m, a, k, o, name=name: post(name, a, k, o), with_kwargs=True)
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    result: Trace,
    arguments: Any,
    draw: int,
    zeros: Masks | None = None,
) -> Any:
    """One forward pass on random leaves: the calls in order, and the tensors of the output.

    With `zeros` some units of some producers put out 0.
    """
    numbers = _Numbers(draw // 2)
    sign = 1 if draw % 2 == 0 else -1
    calls: list[Call] = []
    inside: list[str] = []

    def fresh(name: str, value: Tensor) -> Tensor:
        leaf = numbers.like(value) * sign
        if zeros is not None and name in zeros:
            leaf.movedim(_unit_dim(name, leaf, result), -1).masked_fill_(torch.from_numpy(zeros[name]), 0.0)
        return leaf.requires_grad_()

    def reads(output: Any) -> bool:
        """Whether what a module gave out depends on another's output."""
        found = Graph.variables(t.grad_fn for t in tree_leaves(output) if isinstance(t, Tensor))
        return any(id(leaf) in found for call in calls for leaf in call.leaves)

    def after(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        inside.pop()
        result.say(f"looking for the units of {kind(model)}: at {name or 'its output'}")
        result.called.add(name)
        seen = [t for t in tree_leaves((args, kwargs)) if is_number(t)]
        if name not in result.roles:
            _recognise(name, modules[name], seen, output, result)
        role = result.roles.get(name)
        if role is None:
            return None
        if role == "plain" and sum(map(is_number, tree_leaves(output))) > 1:  # a router that also gives its choice
            role = result.roles[name] = "opaque"
            result.opaque[name] = "it gives out more than a linear map does"
            del result.maps[name]
        if name in result.maps and result.maps[name].inputs is None and not reads(output):
            seen = []  # an embedding that looks only at the shape of what it is given
        # Clones: what the network does in place afterwards must change neither leaves nor what was seen.
        call = Call(name, [_real(t.clone()) for t in seen], [(id(t), t._version) for t in seen], [])
        kept.extend(seen)
        calls.append(call)
        if role == "norm":
            through = seen[0].clone()
            call.passed = through.grad_fn
            return through
        if role == "channelwise":
            return None
        flat, spec = tree_flatten(output)
        for position, value in enumerate(flat):
            if is_number(value):
                call.leaves.append(fresh(name, value))
                flat[position] = call.leaves[-1].clone()
        return tree_unflatten(flat, spec)

    kept: list[Tensor] = []  # so that no tensor of this pass takes the identity of an earlier one
    args, kwargs = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, arguments)
    with _hooked(modules, inside.append, after), States(model) as states:
        try:
            output = model(*args, **kwargs)
        except Exception as error:
            name = inside[-1] if inside else ""
            where = f"module {name!r} ({kind(modules[name])})" if name else kind(model)
            raise NetworkError(
                f"{kind(model)} cannot be traced: {where} raised {type(error).__name__}: {error}. Check that the "
                f"model runs on example_inputs ({HOW}); or name its unit layers by hand with neoteny.units.declare."
            ) from error
    return calls, [t for t in states.removed_from(output_tensors(output)) if t.requires_grad]


class _Numbers:
    """Random numbers for leaves: each leaf gets those from another place on in one table.

    To draw all of them anew would take most of the time of a pass.
    """

    _SPAN, _STRIDE = 2**17, 40_503  # the stride is odd: the places do not come again for 2**17 leaves

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)
        self._table = torch.empty(0, dtype=torch.float64)
        self._count = 0

    def like(self, value: Tensor) -> Tensor:
        """Normal numbers in the shape, type and place of a tensor."""
        if len(self._table) < self._SPAN + value.numel():
            length = self._SPAN + 2 * value.numel()
            more = torch.randn(length - len(self._table), generator=self._generator, dtype=torch.float64)
            self._table = torch.cat([self._table, more])
        self._count += 1
        first = self._count * self._STRIDE % self._SPAN
        return self._table.narrow(0, first, value.numel()).view(value.shape).to(value)


def is_number(value: Any) -> bool:
    """Whether a value is a tensor of real or complex numbers."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def _unit_dim(name: str, value: Tensor, result: Trace) -> int:
    """The dimension of a linear map's output that its units lie along."""
    return value.dim() - 1 - result.maps[name].spatial


def _recognise(name: str, module: nn.Module, seen: list[Tensor], output: Any, result: Trace) -> None:
    """Give a user's own module that computes a linear map the role of one."""
    if len(seen) == 1 and isinstance(output, Tensor) and next(module.children(), None) is None:
        known = recognised(name, module, seen[0], output)
        if known is not None:
            result.roles[name], result.maps[name] = "plain", known


def merge(
    calls: list[Call], outputs: list[Tensor], result: Trace, modules: Mapping[str, nn.Module]
) -> tuple[bool, bool]:
    """Add what one draw shows; returns whether anything was new, and whether another draw may show more."""
    leaves: list[Leaf] = []
    for call in calls:
        for leaf in call.leaves:
            plain = result.roles[call.name] == "plain"
            leaves.append(Leaf(call.name, leaf, _unit_dim(call.name, leaf, result) if plain else None))
            result.units[call.name] = leaves[-1].units
    graph, new = Graph(leaves), False
    norms = {call.passed: call for call in calls if call.passed is not None}
    for call in calls:
        result.say(f"looking for what {call.name} reads")
        dim = _input_dim(call, modules[call.name], result)
        if dim is not None:
            value = call.inputs[0]
            result.inputs[call.name] = (dim - value.dim(), value.shape[dim])
            result.same_input.setdefault(call.name, hash(call.origins[0]))
            norm = _norm_of_activations(value, norms, graph)
            if norm is not None and result.roles[call.name] != "norm":
                result.after_norm.setdefault(call.name, norm)
        for value in call.inputs[: None if dim is None else 1]:
            if value.requires_grad:
                found = graph.read(value, () if dim is None else (dim,))
                new |= _add(result.reads.setdefault(call.name, {}), found)
    result.statistics |= graph.statistics
    before = {name: units.sum() for name, units in result.output.items()}
    for value in outputs:
        for name, codes in graph.read(value, ()).items():
            result.output.setdefault(name, np.zeros(result.units[name], bool))[codes] = True
    return new or before != {name: units.sum() for name, units in result.output.items()}, graph.varies


def _norm_of_activations(value: Tensor, norms: Mapping[Any, Call], graph: Graph) -> str | None:
    """The first of the norms that a tensor is the output of and nothing more, if what that is given are activations."""
    first, call = None, came_from(value, norms.get)
    while call is not None:
        first, call = call, came_from(call.inputs[0], norms.get)
    return first.name if first is not None and graph.active(first.inputs[0]) else None


def merge_bare(calls: list[Call], bare: Mapping[str, Tensor], modules: Mapping[str, nn.Module], result: Trace) -> bool:
    """Add which index reads which entries of parameters that no known module owns.

    Returns whether another draw may show more: entries were not seen, perhaps behind a closed rectifier.
    """
    unseen = False
    dims = range(max((p.dim() for p in bare.values()), default=0))
    leaves = [[Leaf(name, p, d) for name, p in bare.items() if p.dim() > d and p.shape[d] > 1] for d in dims]
    graphs = [Graph(of, asks=False) for of in leaves]
    for call in {call.name: call for call in calls}.values():
        dim = _input_dim(call, modules[call.name], result)
        if dim is None or not call.inputs[0].requires_grad:
            continue
        value, known = call.inputs[0], result.bare.setdefault(call.name, {})
        behind = Graph.variables([value.grad_fn])
        for leaf, codes in _of_bare(value, dim, graphs, [[x for x in of if id(x.tensor) in behind] for of in leaves]):
            assert leaf.dim is not None
            before = known.setdefault(leaf.producer, {}).get(leaf.dim, np.zeros(0, np.int64))
            known[leaf.producer][leaf.dim] = None if codes is None or before is None else np.union1d(before, codes)
            unseen |= codes is not None and len(np.unique(codes % leaf.units)) < leaf.units
    return unseen


def _of_bare(
    value: Tensor, dim: int, graphs: list[Graph], leaves: list[list[Leaf]]
) -> Iterator[tuple[Leaf, np.ndarray | None]]:
    """For each leaf the pairs, if no entry is read at two indices or no index reads two; else None."""
    try:
        found = [graph.read(value, (dim,)) if of else {} for graph, of in zip(graphs, leaves, strict=True)]
    except Unanswered:
        every = [leaf for of in leaves for leaf in of]
        yield from zip(every, read_singly(value, dim, every), strict=True)
        return
    for codes, of in zip(found, leaves, strict=True):
        for leaf in of:
            pairs = codes.get(leaf.producer, np.zeros(0, np.int64))
            alone = any(len(np.unique(part)) == len(part) for part in np.divmod(pairs, leaf.units))
            yield leaf, pairs if alone else None


def read_still(
    calls: list[Call],
    asked: Sequence[Mapping[str, np.ndarray]],
    modules: Mapping[str, nn.Module],
    result: Trace,
    found: list[Masks],
) -> None:
    """Add which units the given indices of calls' inputs read, for each group of consumers that is asked as one."""
    leaves = [(call.name, leaf) for call in calls if result.roles[call.name] == "plain" for leaf in call.leaves]
    dims = {id(call): _input_dim(call, modules[call.name], result) for call in calls}
    for at, masks in zip(asked, found, strict=True):
        values, weights = [], []
        for call in calls:
            dim = dims[id(call)] if call.name in at else None
            if dim is not None and call.inputs[0].requires_grad:
                index = torch.from_numpy(at[call.name]).to(call.inputs[0].device)
                values.append(call.inputs[0].index_select(dim, index))
                weights.append(_Numbers(len(values)).like(values[-1]))
        if not values:
            continue
        wanted = [leaf for _, leaf in leaves]
        grads = torch.autograd.grad(values, wanted, weights, retain_graph=True, allow_unused=True)
        for (name, leaf), grad in zip(leaves, grads, strict=True):
            if grad is not None:
                hit = (grad != 0).movedim(_unit_dim(name, leaf, result), -1).flatten(0, -2).any(0).cpu().numpy()
                masks[name] = hit | masks.get(name, False)


def _input_dim(call: Call, module: nn.Module, result: Trace) -> int | None:
    """The dimension of a module's input that its weight, or its gain, runs along."""
    if not call.inputs or result.roles[call.name] == "opaque":
        return None
    value = call.inputs[0]
    if call.name in result.maps:
        known = result.maps[call.name]
        return None if known.inputs is None else value.dim() - 1 - known.spatial
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        own, dim = module.normalized_shape[0], value.dim() - len(module.normalized_shape)
    elif isinstance(module, nn.GroupNorm):
        own, dim = module.num_channels, 1
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        own, dim = module.num_features, 1
    else:
        own, dim = next(module.parameters()).shape[0], value.dim() - 1
    for candidate in (dim, 1):  # a LayerNorm of images, as some write it, runs along dimension 1
        if candidate < value.dim() and value.shape[candidate] == own:
            return candidate
    return None


def _add(target: Codes, found: Codes) -> bool:
    new = False
    for name, codes in found.items():
        union = codes if name not in target else distinct(np.concatenate([target[name], codes]))
        new |= len(union) > (len(target[name]) if name in target else 0)
        target[name] = union
    return new


def kind(module: nn.Module) -> str:
    """The name of a module's class."""
    return type(module).__name__
