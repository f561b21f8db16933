"""Ask autograd which unit of which module every input index of every module reads.

The network is cut at its linear maps: in a double-precision copy in evaluation mode a forward hook replaces the output
of each call by a fresh random leaf, and the output of each norm by its input, since a norm keeps channels apart. The
gradient of a module's input index j with respect to all leaves is then non-zero exactly at the units that j reads.
Several draws of the leaves, in antithetic pairs, open every rectifier in at least one of them. A module that is called
several times has the same units in every call.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint as checkpointing
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from neoteny.errors import NetworkError
from neoteny.progress import waiting
from neoteny.units.copying import output_tensors
from neoteny.units.decompose import opened
from neoteny.units.graph import Graph, came_from, distinct
from neoteny.units.inputs import HOW, arguments_of, first_examples
from neoteny.units.light import only_shapes, traceable_copy
from neoteny.units.maps import LinearMap, beside_weight, is_channelwise, is_linear, is_norm, known_map, recognised
from neoteny.units.reading import Codes, Leaf, read_singly
from neoteny.units.states import States
from neoteny.units.trace import Masks, Trace

__all__ = ["trace"]

_EXAMPLES = 2  # of the batch are enough to trace; a single one would fail in models that call `squeeze`
_DRAWS = 12  # at most; the last two that showed nothing new end the search


@dataclass
class _Call:
    name: str
    inputs: list[Tensor]
    origins: list[tuple[int, int]]
    leaves: list[Tensor]
    passed: Any = None


def trace(model: nn.Module, example_inputs: Any) -> Trace:
    """Trace a network on example inputs; it stays exactly as it was, and so does the generator.

    Args:
        model: the network.
        example_inputs: a batch as the network takes it, see `neoteny.units.inputs`.

    Raises:
        NetworkError: it has parameters that do not exist yet, cannot be copied, or does not run on these inputs.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            at = f"module {name!r} is" if name else "it is"
            raise NetworkError(
                f"{_kind(model)}: {at} TorchScript, which cannot be looked into; give the network that it was made of, "
                "and script or trace that after attaching."
            )
    for name, tensor in model.named_parameters():
        if nn.parameter.is_lazy(tensor):
            raise NetworkError(
                f"{_kind(model)}: parameter {name!r} does not exist yet; run the network once, then attach."
            )
    with _apart(model), waiting() as say:
        # In double precision, on two examples and without large weights where the model lets us, else as it is.
        own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
        error: NetworkError | None = None
        ways = ((torch.float64, _EXAMPLES, True), (torch.float64, _EXAMPLES, False), (torch.float64, None, False))
        for dtype, examples, light in (*ways, (own, None, False)):
            try:
                given = arguments_of(first_examples(example_inputs, examples, dtype))
                return _traced(model, dtype, given, light, say)
            except NetworkError as failed:
                error = failed if error is None or not light else error
        assert error is not None
        raise error


@contextmanager
def _apart(model: nn.Module) -> Iterator[None]:
    """Run copies without a trace: generators stay as they were, and what the caller has switched on does not count."""
    tensors = [*model.parameters(), *model.buffers()]
    indices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    with (
        torch.random.fork_rng(devices=indices),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),  # compiled parts must call their hooks
        sdpa_kernel(SDPBackend.MATH),  # the fused kernels have no second derivative
        _without_reentry(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _without_reentry() -> Iterator[None]:
    """Reentrant checkpoints run through: they hide the graph that is looked at here."""
    own = checkpointing.CheckpointFunction.apply
    checkpointing.CheckpointFunction.apply = staticmethod(lambda function, _, *inputs: function(*inputs))
    try:
        yield
    finally:
        checkpointing.CheckpointFunction.apply = own


def _traced(model: nn.Module, dtype: torch.dtype, arguments: Any, light: bool, say: Callable[[str], None]) -> Trace:
    """Trace a copy; again with real numbers in the weights that turn out to be read beside their modules."""
    whole = set[str]()
    while True:
        result, elsewhere = _trace_of(traceable_copy(model, dtype, whole if light else None), arguments, light, say)
        if not light or elsewhere <= whole:
            result.read_bare()
            return result
        whole |= elsewhere


def _trace_of(model: nn.Module, arguments: Any, light: bool, say: Callable[[str], None]) -> tuple[Trace, set[str]]:
    shared = _shared(model)
    for module in model.modules():
        if hasattr(module, "muted"):  # frozen copies of a head are no units of it (nn/surgery/injection.py)
            module.__dict__["muted"] = True
    maps, views = opened(model)
    modules = dict(model.named_modules())
    result = Trace(say=say, views=views, parts={name: name.rpartition(".")[0] for name in maps})
    _assign_roles(modules, maps, result)
    for name in result.maps if light else ():
        if result.roles[name] == "plain":
            only_shapes(modules[name])
    _open_bare(model, modules, result)
    quiet, elsewhere, bare = 0, dict[str, str](), dict[str, Tensor]()
    for draw in range(_DRAWS):
        calls, outputs = _run(model, modules, result, arguments, draw)
        _check_calls(modules, calls, result)
        if draw == 0:
            elsewhere = _used_elsewhere(model, result, calls, outputs)
            bare = _unowned(model, result, calls, outputs)
            result.unowned, result.bare_shapes = list(bare), {name: tuple(p.shape) for name, p in bare.items()}
            for name, known in result.maps.items():
                both = {**elsewhere, **shared}
                reason = next((both[p] for p in (known.weight, known.bias) if p in both), None)
                result.maps[name] = replace(known, shared=reason)
        new, varies = _merge(calls, outputs, result, modules)
        quiet = 0 if new else quiet + 1
        if quiet == 2 or not (varies or result.roles.keys() - result.calls.keys()):
            break

    def still_read(zeros: Masks, at: Mapping[str, np.ndarray]) -> dict[str, Masks]:
        found: dict[str, Masks] = {}
        with _apart(model):
            for draw in range(2):
                calls, _ = _run(model, modules, result, arguments, draw, zeros)
                _still_read(calls, at, modules, result, found)
        return found

    def read_bare() -> None:
        for draw in range(2 if bare else 0):
            calls, _ = _run(model, modules, result, arguments, draw)
            if not _merge_bare(calls, bare, modules, result):
                break

    result.still_read, result.read_bare = still_read, read_bare
    return result, set(elsewhere)


def _shared(model: nn.Module) -> dict[str | None, str]:
    """The parameters that have several names, and which."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules():  # each once: one module under two names is no sharing
        for own, parameter in module.named_parameters(name, recurse=False, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(own)
    found = {}
    for several in names.values():
        for name in several if len(several) > 1 else ():
            others = sorted(other.rpartition(".")[0] for other in several if other != name)
            found[name] = f"it shares parameters with {_listed(others)}"
    return found


def _used_elsewhere(model: nn.Module, result: Trace, calls: list[_Call], outputs: list[Tensor]) -> dict[str, str]:
    """The weights that something reads beside the module that they belong to, whose output is cut off."""
    own = {p for known in result.maps.values() for p in (known.weight, known.bias)}
    reached = [t for t in (*outputs, *(value for call in calls for value in call.inputs)) if t.requires_grad]
    used = Graph.variables(t.grad_fn for t in reached) | {id(t) for t in reached}
    return {
        name: "its weights are used outside it as well"
        for name, parameter in model.named_parameters()
        if name in own and id(parameter) in used
    }


def _open_bare(model: nn.Module, modules: Mapping[str, nn.Module], result: Trace) -> None:
    """Parameters that no known module owns: all are asked, and none may hide what it is multiplied with by being 0."""
    owned = {id(p) for name in result.roles for p in modules[name].parameters(recurse=False)}
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if id(parameter) in owned or not _is_number(parameter):
            continue
        if parameter.requires_grad and parameter.numel() and not parameter.any():  # a gain that training opens
            parameter.data.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        parameter.requires_grad_()


def _unowned(model: nn.Module, result: Trace, calls: list[_Call], outputs: list[Tensor]) -> dict[str, Tensor]:
    """The parameters that the pass computed with outside the modules of known roles."""
    own = {name for name in result.roles if name in result.calls}
    reached = [t for t in (*outputs, *(value for call in calls for value in call.inputs)) if t.requires_grad]
    used = Graph.variables(t.grad_fn for t in reached) | {id(t) for t in reached}
    return {n: p for n, p in model.named_parameters() if n.rpartition(".")[0] not in own and id(p) in used}


def _assign_roles(modules: Mapping[str, nn.Module], maps: Mapping[str, LinearMap], result: Trace) -> None:
    for name, module in modules.items():
        known = maps.get(name) or known_map(name, module)
        reason = None
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)):
            if name in result.parts.values():
                continue
            reason = f"it is a {_kind(module)}, which works differently from torch's own"
        elif is_linear(module) and getattr(module.weight, "is_complex", bool)():
            reason = "its weight is complex"
        elif beside := beside_weight(module):
            reason = f"it computes with more than its weight ({_listed(beside)})"
        elif isinstance(module, nn.Bilinear):
            reason = "it is an nn.Bilinear, whose weights each multiply two inputs"
        elif isinstance(module, nn.EmbeddingBag):
            reason = "it is a bag of embeddings"
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
            reason = "it is an embedding with a padding row, which has to stay as it is"
        elif known is None and is_linear(module):
            reason = "its weight is computed from other parameters"
        elif known is None:
            if is_norm(module):
                result.roles[name] = "norm"
            continue
        if reason is not None:
            result.roles[name], result.opaque[name] = "opaque", reason
            continue
        assert known is not None
        result.roles[name], result.maps[name] = "channelwise" if is_channelwise(module) else "plain", known
        if is_channelwise(module):  # seen through: no channel may be lost to a weight of zero
            nn.init.ones_(module.weight)  # pyright: ignore
            if module.bias is not None:  # nor may a bias hide that a channel is 0
                nn.init.zeros_(module.bias)  # pyright: ignore


def _check_calls(modules: Mapping[str, nn.Module], calls: list[_Call], result: Trace) -> None:
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
                f"{call.name!r} ({_kind(modules[call.name])}) saw an input of shape {list(call.inputs[0].shape)}, "
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


def _run(
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
    generator = torch.Generator().manual_seed(draw // 2)
    sign = 1 if draw % 2 == 0 else -1
    calls: list[_Call] = []
    inside: list[str] = []

    def fresh(name: str, value: Tensor) -> Tensor:
        leaf = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value) * sign
        if zeros is not None and name in zeros:
            leaf.movedim(_unit_dim(name, leaf, result), -1).masked_fill_(torch.from_numpy(zeros[name]), 0.0)
        return leaf.requires_grad_()

    def reads(output: Any) -> bool:
        """Whether what a module gave out depends on another's output."""
        found = Graph.variables(t.grad_fn for t in tree_leaves(output) if isinstance(t, Tensor))
        return any(id(leaf) in found for call in calls for leaf in call.leaves)

    def after(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        inside.pop()
        result.say(f"looking for the units of {_kind(model)}: at {name or 'its output'}")
        result.called.add(name)
        seen = [t for t in tree_leaves((args, kwargs)) if _is_number(t)]
        if name not in result.roles:
            _recognise(name, modules[name], seen, output, result)
        role = result.roles.get(name)
        if role is None:
            return None
        if role == "plain" and sum(map(_is_number, tree_leaves(output))) > 1:  # a router that also gives its choice
            role = result.roles[name] = "opaque"
            result.opaque[name] = "it gives out more than a linear map does"
            del result.maps[name]
        if name in result.maps and result.maps[name].inputs is None and not reads(output):
            seen = []  # an embedding that looks only at the shape of what it is given
        # Clones: what the network does in place afterwards must change neither leaves nor what was seen.
        call = _Call(name, [_real(t.clone()) for t in seen], [(id(t), t._version) for t in seen], [])
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
            if _is_number(value):
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
            where = f"module {name!r} ({_kind(modules[name])})" if name else _kind(model)
            raise NetworkError(
                f"{_kind(model)} cannot be traced: {where} raised {type(error).__name__}: {error}. Check that the "
                f"model runs on example_inputs ({HOW}); or name its unit layers by hand with neoteny.units.declare."
            ) from error
    return calls, [t for t in states.removed_from(output_tensors(output)) if t.requires_grad]


def _is_number(value: Any) -> bool:
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


def _merge(
    calls: list[_Call], outputs: list[Tensor], result: Trace, modules: Mapping[str, nn.Module]
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
    before = {name: units.sum() for name, units in result.output.items()}
    for value in outputs:
        for name, codes in graph.read(value, ()).items():
            result.output.setdefault(name, np.zeros(result.units[name], bool))[codes] = True
    return new or before != {name: units.sum() for name, units in result.output.items()}, graph.varies


def _norm_of_activations(value: Tensor, norms: Mapping[Any, _Call], graph: Graph) -> str | None:
    """The first of the norms that a tensor is the output of and nothing more, if what that is given are activations."""
    first, call = None, came_from(value, norms.get)
    while call is not None:
        first, call = call, came_from(call.inputs[0], norms.get)
    return first.name if first is not None and graph.active(first.inputs[0]) else None


def _merge_bare(
    calls: list[_Call], bare: Mapping[str, Tensor], modules: Mapping[str, nn.Module], result: Trace
) -> bool:
    """Add which index reads which entries of parameters that no known module owns.

    Returns whether another draw may show more: entries were not seen, perhaps behind a closed rectifier.
    """
    unseen = False
    for call in {call.name: call for call in calls}.values():
        dim = _input_dim(call, modules[call.name], result)
        if dim is None or not call.inputs[0].requires_grad:
            continue
        value, known = call.inputs[0], result.bare.setdefault(call.name, {})
        behind = Graph.variables([value.grad_fn])
        reached = {name: p for name, p in bare.items() if id(p) in behind}
        leaves = [Leaf(name, p, d) for name, p in reached.items() for d in range(p.dim()) if p.shape[d] > 1]
        for leaf, codes in zip(leaves, read_singly(value, dim, leaves) if leaves else (), strict=True):
            assert leaf.dim is not None
            before = known.setdefault(leaf.producer, {}).get(leaf.dim, np.zeros(0, np.int64))
            known[leaf.producer][leaf.dim] = None if codes is None or before is None else np.union1d(before, codes)
            unseen |= codes is not None and len(np.unique(codes % leaf.units)) < leaf.units
    return unseen


def _still_read(
    calls: list[_Call],
    at: Mapping[str, np.ndarray],
    modules: Mapping[str, nn.Module],
    result: Trace,
    found: dict[str, Masks],
) -> None:
    """Add which units the given indices of the calls' inputs read."""
    leaves = [(call.name, leaf) for call in calls if result.roles[call.name] == "plain" for leaf in call.leaves]
    for call in calls:
        dim = _input_dim(call, modules[call.name], result) if call.name in at else None
        if dim is None or not call.inputs[0].requires_grad:
            continue
        value = call.inputs[0].index_select(dim, torch.from_numpy(at[call.name]).to(call.inputs[0].device))
        weights = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(value)
        grads = torch.autograd.grad(value, [leaf for _, leaf in leaves], weights, retain_graph=True, allow_unused=True)
        for (name, leaf), grad in zip(leaves, grads, strict=True):
            if grad is not None:
                hit = (grad != 0).movedim(_unit_dim(name, leaf, result), -1).flatten(0, -2).any(0).cpu().numpy()
                masks = found.setdefault(call.name, {})
                masks[name] = hit | masks.get(name, False)


def _input_dim(call: _Call, module: nn.Module, result: Trace) -> int | None:
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


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
